"""What export has a model read to learn which of its inputs move together (calibration.py).

A bit of everything that people ask and models write. Other texts than in sample.py, on which the
result is judged.
"""

CONVERSATION = (
    "Hi! Can you help me plan a week of simple dinners for two? One of us eats no meat.",
    """\
Of course. Here is a plan that needs about half an hour per evening:

1. **Monday:** lentil curry with rice and spinach
2. **Tuesday:** baked potatoes with sour cream and a cucumber salad
3. **Wednesday:** spaghetti with tomatoes, garlic and olives
4. **Thursday:** vegetable soup with toast and cheese
5. **Friday:** fried rice with eggs, peas and carrots

Cook a little more rice on Monday and you can use what is left on Friday. Shall I write a shopping \
list?""",
    "Yes please, and how much would it cost, roughly?",
    """\
You will need 500 g of lentils, 1 kg of rice, 2 kg of potatoes, six eggs, two tins of tomatoes, \
garlic, onions, spinach, a cucumber, frozen peas, carrots, cheese and sour cream. In most shops \
that comes to between 25 and 35 euros, because rice and lentils last for more than one week.""",
    "Why is the sky blue but the sunset red? Explain it to a ten-year-old.",
    """\
Sunlight looks white, but it is a mix of all colours. When it passes through the air, it bumps \
into tiny particles that scatter blue light in every direction much more than red light. So during \
the day blue reaches your eyes from the whole sky. In the evening the light has to travel through \
far more air. Most of the blue has been scattered away by then, and what arrives is orange or \
red.""",
    "Write a Python function that counts the words of a file, most frequent first.",
    """\
Here is one way to do it:

```python
import re
from collections import Counter
from pathlib import Path


def count_words(path: Path, limit: int = 10) -> list[tuple[str, int]]:
    \"\"\"Return the `limit` most frequent words and how often they occur.\"\"\"
    words = re.findall(r"[a-z']+", path.read_text(encoding="utf-8").lower())
    return Counter(words).most_common(limit)
```

`Counter.most_common` sorts for you. If the file is very large, read it line by line and call \
`counter.update(...)` instead, so that memory stays small.""",
    "If a train leaves at 14:35 and the journey takes 2 h 50 min, when does it arrive?",
    """\
Add the hours first: 14:35 + 2 h = 16:35. Then add 50 minutes: 16:35 + 50 min = 17:25. The train \
arrives at **17:25**.""",
    "Translate into German and French: 'Where is the nearest pharmacy? I have a headache.'",
    """\
- German: „Wo ist die nächste Apotheke? Ich habe Kopfschmerzen.“
- French : « Où est la pharmacie la plus proche ? J'ai mal à la tête. »""",
    "I was fired today and I don't know what to do.",
    """\
I am sorry, that is hard news. You do not have to solve everything tonight. It may help to talk to \
someone you trust, and tomorrow to write down three things: what you are owed by your employer, \
when you have to register as looking for work, and how long your savings will last. If you like, \
we can go through them together, one at a time.""",
    "Summarise the French Revolution in two sentences.",
)

TEXT = """\
The old lighthouse had not been lit for thirty years when Marta bought it. She painted the door \
green, carried eleven boxes of books up the spiral stairs, and on the first night of November she \
saw, far out beyond the rocks, a small boat that was signalling to her.

Photosynthesis takes place in the chloroplasts of plant cells. Light splits water molecules, which \
releases oxygen; the energy that is gained is stored in ATP and NADPH and then used to build \
glucose from carbon dioxide: 6 CO2 + 6 H2O -> C6H12O6 + 6 O2. In 1779 the Dutch physician Jan \
Ingenhousz showed that this happens only in light.

Dear Ms Okafor, thank you for your letter of 12 March. We regret that order no. 48-1107 arrived \
damaged. A replacement worth $129.50 will be sent within five working days; please keep the \
packaging until our courier has collected it. Kind regards, Customer Service

function debounce(callback, delay) {
  let timer = null;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => callback(...args), delay);
  };
}

#include <stdio.h>
int main(void) {
    for (int i = 1; i <= 15; i++) printf(i % 3 ? "%d\\n" : "fizz\\n", i);
    return 0;
}

SELECT c.name, COUNT(*) AS orders FROM customers c JOIN orders o ON o.customer_id = c.id
WHERE o.created_at >= '2024-01-01' GROUP BY c.name HAVING COUNT(*) > 3 ORDER BY orders DESC;

services:
  web:
    image: nginx:1.27
    ports: ["8080:80"]
    restart: unless-stopped

[{"id": 17, "title": "Annual report", "pages": 48, "authors": ["Lee", "Sato"], "draft": false}]

Theorem. There are infinitely many primes. Proof. Suppose p1, ..., pn were all of them, and let \
N = p1 p2 ... pn + 1. No p_i divides N, so N has a prime factor that is not in the list. []

La plaza estaba casi vacía cuando empezó a llover; solo un perro dormía debajo del banco. Gli \
amici arrivarono tardi, ma la cena era ancora calda. Der Zug nach Hamburg fährt heute von \
Gleis 7 ab. Os alunos leram o livro inteiro em dois dias. Wczoraj wieczorem padał śnieg. \
Вечером мы пили чай и долго разговаривали. 我们明天早上八点出发，请不要迟到。 \
図書館は午後六時に閉まります。 오늘은 날씨가 정말 좋네요. الكتاب على الطاولة. मुझे चाय पसंद है।

Q: What is the capital of Australia?
A: Canberra, not Sydney.
Q: How many legs do eight spiders have?
A: 64.

To install the package, run `pip install --upgrade requests` in a virtual environment. If you see \
"Permission denied", do not use sudo; create the environment in your home directory instead.

He laughed. "You can't be serious," he said, "nobody has crossed that desert on foot!" "Not yet," \
she answered, and tied her boots.
"""
