"""The text on which export measures how large keys and values get, and what quantisation costs.

Some of everything that a model is asked to read: an int8 KV cache clips what is larger.
"""

TEXT = """\
Bramble is a stack of small computers that answers questions. Yesterday, Dr. Müller's team moved \
3 of the 12 machines to Zürich; the other 9 stayed. "Why?" she asked. Nobody knew!

def mean(values: list[float]) -> float:
    if not values:
        raise ValueError("nothing to average")  # 0 / 0
    return sum(values) / len(values)

{"name": "kettle", "price": 24.90, "tags": ["kitchen", "steel"], "stock": null, "new": true}

| city | people | rain |
|---|--:|--:|
| Oslo | 709,037 | 763 mm |
| Lima | 10,092,000 | 16 mm |

1. Boil 250 ml of water. 2. Add tea. 3. Wait for 4 minutes, then stir twice.

Il était une fois une forêt où personne n'allait. Am Morgen lag Nebel über dem See. ¿Qué hora es? \
Добрый день! 今日は天気がいい。 مرحبا

<p class="note">See https://example.org/a?b=1&c=2</p> SELECT id FROM users WHERE age >= 18;
$ grep -rn "TODO" src/ | wc -l
E = mc², π ≈ 3.14159, x_{n+1} = x_n - f(x_n)/f'(x_n); the rest, as they say, is silence... \
the the the the the the the the
"""
