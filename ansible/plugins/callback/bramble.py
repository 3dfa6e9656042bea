"""Stdout callback of the plays: the phase, what changed on which node, what is waited for, how it ended.

A step that changes nothing is not shown. With -v, or should this plugin fail itself, ansible-core's
own callback shows everything instead.
"""

from __future__ import annotations

import functools
import re
import threading
import time

from ansible import constants as C
from ansible.plugins.callback.default import CallbackModule as Default

DOCUMENTATION = """
    name: bramble
    type: stdout
    short_description: phases, changes, waits and a final sentence; all of it with -v
    description:
        - Shows a line per phase and per change. Steps that change nothing are shown with C(-v) only.
    extends_documentation_fragment:
      - default_callback
      - result_format_callback
    requirements:
      - set as stdout in configuration
"""

FIRST_BEATS_S = (10, 30)  # a step that lasts is named then, and once a minute after that
MINUTE_S = 60
MAX_DIFF_LINES = 12  # of one file; -v shows all
MAX_NAMES = 8  # of nodes on one line
INDENT = "      "
OWN_SENTENCES = ("assert", "fail")  # the plays' own checks: their message is what there is to say
DETAILS_LEFT_OUT = ("msg", "changed", "failed", "assertion", "evaluated_to", "delta", "start", "end", "stdout_lines", "stderr_lines")
SAYS_NOTHING = ("", "non-zero return code")  # of a program: what it printed says more
MAX_REASON_LINES = 3  # of what a program printed last; all of it stands below


def duration(seconds):
    """Return seconds as a person says them: 35 s, 4 min 5 s, 20 min."""
    whole = round(seconds)
    if whole < 2 * MINUTE_S:
        return f"{whole} s"
    minutes, rest = divmod(whole, MINUTE_S)
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"


def beats(elapsed_s):
    """Return how often a step that runs for so long has been named."""
    return sum(beat <= elapsed_s for beat in FIRST_BEATS_S) + int(elapsed_s // MINUTE_S)


def ordered(hosts):
    """Return each host once, pi2 before pi10."""
    return sorted(set(hosts), key=lambda name: [part.zfill(9) for part in re.split(r"(\d+)", name)])


def named(hosts):
    """Return the hosts' names on one line."""
    names = ordered(hosts)
    if len(names) <= MAX_NAMES:
        return ", ".join(names)
    return f"{', '.join(names[:MAX_NAMES])} and {len(names) - MAX_NAMES} more"


def counted(number, thing):
    return f"{number} {thing}{'' if number == 1 else 's'}"


def bare_title(task):
    """Return the task's name without its role's."""
    return task.get_name().strip().rpartition(" : ")[2]


def short_name(action):
    return str(action).rpartition(".")[2]


def is_rescued(task):
    """True if the task lies in a block that has a rescue section; in that section itself it does not count."""
    inner, outer = task, getattr(task, "_parent", None)
    while outer is not None:
        if getattr(outer, "rescue", None) and any(each._uuid == inner._uuid for each in outer.block):
            return True
        inner, outer = outer, getattr(outer, "_parent", None)
    return False


def shortened(lines):
    """Return the lines of one diff that are shown; its file's temporary names are not."""
    kept = [line for line in lines if line.strip() and "--- before" not in line and "+++ after" not in line]
    if sum("@@ -" in line for line in kept) == 1:
        kept = [line for line in kept if "@@ -" not in line]
    if len(kept) <= MAX_DIFF_LINES + 1:
        return kept
    return [*kept[:MAX_DIFF_LINES], f"… {len(kept) - MAX_DIFF_LINES} more lines (-v shows all)"]


def guarded(event):
    """Show an event our way; with -v, or where that fails, as ansible-core does: no result is hidden."""
    name = event.__name__

    @functools.wraps(event)
    def shown(self, *given, **options):
        if not self._is_default:
            try:
                return event(self, *given, **options)
            except Exception as problem:  # noqa: BLE001  the run's results are worth more than their looks
                self._fall_back(problem)
        return getattr(Default, name)(self, *given, **options)

    return shown


class Change:
    """What one task changed: on whom, and each differing text of it."""

    def __init__(self, title):
        self.title = title
        self.hosts = []
        self.diffs = {}  # text of a diff → hosts


class CallbackModule(Default):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "bramble"

    def __init__(self, now=time.monotonic):
        super().__init__()
        self._now = now
        self._started_s = now()
        self._is_default = self._display.verbosity > 0
        self._is_phase_shown = True
        self._titles = {}  # uuid of a task → its name, as it was when the task began
        self._running = {}  # host → (uuid of its task, since when)
        self._limits_s = {}  # uuid of a task that is tried again → how long at most
        self._beaten = {}  # uuid of a task → how often it was named while it ran
        self._changes = {}  # uuid of a task → its Change, shown when the next task begins
        self._over = threading.Event()

    # --------------------------------------------------------------------------- plays and tasks

    @guarded
    def v2_playbook_on_start(self, playbook):
        self._started_s = self._now()
        threading.Thread(target=self._watch, daemon=True, name="bramble-callback").start()

    @guarded
    def v2_playbook_on_play_start(self, play):
        self._play = play  # ansible-core's own callback needs it, should it take over
        self._show_changes()
        self._running.clear()
        self._is_phase_shown = False

    @guarded
    def v2_playbook_on_task_start(self, task, is_conditional):
        self._begin(task)

    @guarded
    def v2_playbook_on_handler_task_start(self, task):
        self._begin(task)

    @guarded
    def v2_runner_on_start(self, host, task):
        self._show_phase(host.get_name())
        self._running[host.get_name()] = (task._uuid, self._now())

    def _begin(self, task):
        self._show_changes()
        self._titles[task._uuid] = bare_title(task)
        self._beaten.pop(task._uuid, None)

    def _show_phase(self, host):
        """Name the phase as soon as it has something to do; one that goes node by node, with the node."""
        if self._is_phase_shown or self._play is None:
            return
        self._is_phase_shown = True
        minutes, seconds = divmod(int(self._now() - self._started_s), MINUTE_S)
        which = f": {host}" if getattr(self._play, "serial", None) else ""
        self._say(f"{minutes}:{seconds:02}  {self._play.get_name().strip()}{which}")

    # ----------------------------------------------------------------------------------- results

    @guarded
    def v2_runner_on_ok(self, result):
        self._end(result)
        if short_name(result.task.action) == "debug":
            if "results" not in result.result:
                self._show_message(result)
        elif result.result.get("changed"):
            self._change(result).hosts.append(result.host.get_name())

    @guarded
    def v2_runner_item_on_ok(self, result):
        if short_name(result.task.action) == "debug":
            self._show_message(result)

    @guarded
    def v2_runner_on_skipped(self, result):
        self._end(result)

    @guarded
    def v2_runner_item_on_skipped(self, result):
        pass

    @guarded
    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._end(result)
        if not (result.task.loop and "results" in result.result):  # else its items were shown
            self._show_failure(result, ignore_errors or is_rescued(result.task))

    @guarded
    def v2_runner_item_on_failed(self, result):
        self._show_failure(result, is_rescued(result.task), f" ({self._get_item_label(result.result)})")

    @guarded
    def v2_runner_on_unreachable(self, result):
        self._end(result)
        host, reason = result.host.get_name(), self._reason(result)
        if result.task.ignore_unreachable:
            self._say(f"{INDENT}{host} does not answer ({reason})", C.COLOR_SKIP)
        else:
            self._say(f"LOST    {host} does not answer (at “{self._title(result)}”): {reason}", C.COLOR_UNREACHABLE)

    @guarded
    def v2_runner_retry(self, result):
        tries, delay_s = result.result.get("retries", 1), result.task_fields.get("delay", 0)
        self._limits_s[result.task._uuid] = (float(tries) - 1) * float(delay_s)

    @guarded
    def v2_on_file_diff(self, result):
        if result.task.loop and "results" in result.result:
            results = result.result["results"]
        else:
            results = [result.result]
        for one in results:
            if one.get("changed") and one.get("diff"):
                place = one.get("dest") or one.get("path") or ""
                text = "\n".join([place, *shortened(self._get_diff(one["diff"]).splitlines())]).strip()
                self._change(result).diffs.setdefault(text, []).append(result.host.get_name())

    def _end(self, result):
        """Say a task's warnings, and that its host is done with it."""
        self._running.pop(result.host.get_name(), None)
        self._handle_warnings(result.result)

    def _change(self, result):
        return self._changes.setdefault(result.task._uuid, Change(self._title(result)))

    def _title(self, result):
        return self._titles.get(result.task._uuid) or bare_title(result.task)

    def _reason(self, result):
        """Return why: the message, or what a program printed where that says only that it failed."""
        given = result.result
        if "censored" in given:
            return "what was said may hold a secret and is not shown (no_log)"
        message = str(given.get("msg") or "").removeprefix("Task failed: ").strip()
        if message not in SAYS_NOTHING:
            return message
        printed = str(given.get("stderr") or "").strip() or str(given.get("stdout") or "").strip()
        last = " ".join(line.strip() for line in printed.splitlines()[-MAX_REASON_LINES:])
        return last or message or f"no reason given, only {', '.join(given) or 'an empty answer'}"

    # -------------------------------------------------------------------------------------- words

    def _say(self, text, color=None):
        self._display.display(text, color=color)

    def _show_changes(self):
        verb = "would change" if getattr(self._play, "check_mode", False) else "changed"
        for change in self._changes.values():
            if change.hosts:
                self._say(f"{INDENT}{verb}: {change.title} ({named(change.hosts)})", C.COLOR_CHANGED)
            for text, hosts in sorted(change.diffs.items(), key=lambda diff: ordered(diff[1])):
                if len(change.diffs) > 1:
                    self._say(f"{INDENT}  {named(hosts)}:")
                self._say("\n".join(f"{INDENT}    {line}" for line in text.splitlines()))
        self._changes.clear()

    def _show_message(self, result):
        said = result.result.get("msg")
        if said is None:  # debug's `var`
            self._clean_results(result.result, result.task.action)
            said = self._dump_results(result.result).strip("\n")
        for line in said if isinstance(said, (list, tuple)) else [said]:
            self._say(str(line))

    def _show_failure(self, result, is_provided_for, item=""):
        host, reason, title = result.host.get_name(), self._reason(result), self._title(result)
        if is_provided_for:
            self._say(f"{INDENT}{host}: {title}{item} did not succeed, and the play goes on: {reason}", C.COLOR_SKIP)
            return
        if short_name(result.task.action) in OWN_SENTENCES:
            is_named = host in reason or result.task.run_once or host == "localhost"
            self._say(f"FAILED  {reason if is_named else f'{host}: {reason}'}", C.COLOR_ERROR)
            return
        rest = {key: value for key, value in result.result.items() if key not in DETAILS_LEFT_OUT and value != ""}
        details = self._dump_results(rest).strip("\n")
        place = f"\n{INDENT}this task: {result.task.get_path()}" if result.task.get_path() else ""
        shown = f"\n{details}" if details.strip() not in ("", "{}") else ""
        self._say(f"FAILED  {host}: {title}{item}: {reason}{shown}{place}", C.COLOR_ERROR)

    # ---------------------------------------------------------------------------- while it lasts

    def _watch(self):
        """Name the steps that last, from a thread of its own: no event comes while a node works."""
        while not self._over.wait(1):
            try:
                self._beat()
            except Exception as problem:  # noqa: BLE001  as in `guarded`
                self._fall_back(problem)
            if self._is_default:
                return

    def _beat(self):
        waiting = {}
        for host, (uuid, since_s) in list(self._running.items()):
            waiting.setdefault(uuid, []).append((host, since_s))
        for uuid, hosts in waiting.items():
            elapsed_s = self._now() - min(since_s for _, since_s in hosts)
            if beats(elapsed_s) <= self._beaten.get(uuid, 0) or uuid not in self._titles:
                continue
            self._beaten[uuid] = beats(elapsed_s)
            limit = f" of at most {duration(self._limits_s[uuid])}" if uuid in self._limits_s else ""
            names = named(host for host, _ in hosts)
            self._say(f"{INDENT}… {self._titles[uuid]} ({names}): {duration(elapsed_s)}{limit}")

    # ---------------------------------------------------------------------------------- the end

    @guarded
    def v2_playbook_on_stats(self, stats):
        self._over.set()
        self._show_changes()
        sums = {host: stats.summarize(host) for host in ordered(stats.processed)}
        width = max(map(len, sums), default=0)
        self._say("")
        for host, each in sums.items():
            self._say(f"{host:{width}}  {', '.join(self._recap(each))}", self._color(each))
        self._say(self._last_sentence(sums))

    def _recap(self, each):
        yield counted(each["changed"], "change")
        if each["failures"]:
            yield "failed"
        if each["unreachable"]:
            yield "does not answer"

    def _color(self, each):
        if each["failures"] or each["unreachable"]:
            return C.COLOR_ERROR
        return C.COLOR_CHANGED if each["changed"] else C.COLOR_OK

    def _last_sentence(self, sums):
        took = duration(self._now() - self._started_s)
        changes = sum(each["changed"] for each in sums.values())
        hosts = sum(bool(each["changed"]) for each in sums.values())
        bad = [host for host, each in sums.items() if each["failures"] or each["unreachable"]]
        if bad:
            return f"Ended after {took}, not well on {named(bad)}: what is wrong stands above. -v shows every step."
        if not sums:
            return "No node was asked anything: no host matches."
        if getattr(self._play, "check_mode", False):
            return f"Checked in {took}, nothing was changed: {counted(changes, 'change')} would be made."
        if not changes:
            return f"Done in {took}: nothing had to change."
        return f"Done in {took}: {counted(changes, 'change')} on {counted(hosts, 'host')}."

    def _fall_back(self, problem):
        """Leave everything from here on to ansible-core's callback, and say what was not shown yet."""
        self._is_default = True
        self._over.set()
        self._display.warning(f"the short output failed ({problem!r}), so all of it is shown from here on")
        for change in self._changes.values():
            self._say(f"changed: {change.title} {change.hosts}")


def _hide(name):
    def event(self, *_given, **_options):
        """Shown with -v."""

    event.__name__ = name
    setattr(CallbackModule, name, guarded(event))


for _name in (
    *("v2_playbook_on_no_hosts_matched", "v2_playbook_on_no_hosts_remaining", "v2_playbook_on_include"),
    *("v2_runner_on_async_poll", "v2_runner_on_async_ok", "v2_runner_on_async_failed", "v2_playbook_on_notify"),
):
    _hide(_name)
