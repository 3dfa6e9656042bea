"""Ansible strategy plugin: ansible-core's `linear`, through Mitogen if that is installed.

Ansible starts a Python on the node for every task, which a Pi feels; Mitogen starts one for all of a
run. It knows of tasks and connections alone: what they do, and in which order, stays as it is.
"""

from __future__ import annotations

from ansible.plugins.strategy.linear import StrategyModule as Linear

try:
    from ansible_mitogen.strategy import StrategyMixin
except ImportError:
    StrategyModule = Linear
else:

    class StrategyModule(StrategyMixin, Linear):
        """Hosts go from task to task together, each over one connection that stays."""
