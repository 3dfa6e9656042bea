"""Ask a trained model the questions of held_out.yml, greedily, and count the right answers.

It reads the Hugging Face folder that train.py writes and runs it in plain torch.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from network import Llama, Shape
from safetensors.torch import load_file
from tokenizers import Tokenizer
from vocabulary import ASSISTANT, BEGIN, END, USER

EXAMPLE = "example:\n  python evaluate.py --model ../bramble/embedded --wrong"
HERE = Path(__file__).parent
MAX_NEW_TOKENS = 120
BATCH = 48


@dataclass(frozen=True, slots=True)
class Case:
    """What a user says, turn by turn, and what the last answer must hold (a|b: either)."""

    category: str
    says: tuple[str, ...]
    need: tuple[str, ...]

    def is_right(self, answer: str) -> bool:
        """Look for every needed word."""
        return all(any(word in answer for word in words.split("|")) for words in self.need)


@dataclass(frozen=True, slots=True)
class Reply:
    """A decoded answer, and whether the model ended it itself."""

    text: str
    is_ended: bool


class Model:
    """The trained model and its tokenizer."""

    def __init__(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.end = self.tokenizer.token_to_id(END)
        self.llama = Llama(shape_of(config)).eval()
        weights = load_file(folder / "model.safetensors")
        self.llama.load_state_dict({name: weight.float() for name, weight in weights.items()})

    @torch.inference_mode()
    def answer(self, prompts: list[str]) -> list[Reply]:
        """Continue each prompt to its end token; shorter rows are padded on the right."""
        rows = [self.tokenizer.encode(prompt).ids for prompt in prompts]
        starts = [len(row) for row in rows]
        for _ in range(MAX_NEW_TOKENS):
            live = [row for row in rows if row[-1] != self.end]
            if not live:
                break
            length = max(map(len, live))
            tokens = torch.tensor([row + [0] * (length - len(row)) for row in live])
            last = torch.tensor([len(row) - 1 for row in live])
            hidden = self.llama(tokens)[torch.arange(len(live)), last]
            for row, token in zip(live, self.llama.logits(hidden).argmax(-1).tolist(), strict=True):
                row.append(token)
        return [
            Reply(self.tokenizer.decode(row[start:]), row[-1] == self.end)
            for row, start in zip(rows, starts, strict=True)
        ]


def shape_of(config: dict) -> Shape:
    """Return the Shape that config.json describes."""
    return Shape(
        vocab_size=config["vocab_size"],
        hidden_size=config["hidden_size"],
        num_layers=config["num_hidden_layers"],
        num_heads=config["num_attention_heads"],
        num_kv_heads=config["num_key_value_heads"],
        head_dim=config["head_dim"],
        intermediate_size=config["intermediate_size"],
        max_positions=config["max_position_embeddings"],
        rope_theta=config["rope_theta"],
        norm_epsilon=config["rms_norm_eps"],
    )


def load_cases(path: Path) -> list[Case]:
    """Read held_out.yml."""
    data = yaml.safe_load(path.read_text())
    cases = [Case("topics", (q,), tuple(t["need"])) for t in data["topics"] for q in t["ask"]]
    cases += [Case("outside", (q,), ("small demonstration model",)) for q in data["outside"]]
    for question, first, operator, second in data["sums"]:
        value = {"+": first + second, "-": first - second, "×": first * second}[operator]
        cases.append(Case("sums", (question,), (f"= {value}",)))
    return cases + [Case("turns", tuple(t["say"]), tuple(t["need"])) for t in data["turns"]]


def answer_all(model: Model, cases: list[Case]) -> list[Reply]:
    """Return the last reply of every case, its earlier turns answered by the model too."""
    replies: list[Reply] = []
    for start in range(0, len(cases), BATCH):
        group = cases[start : start + BATCH]
        prompts = [BEGIN] * len(group)
        last: list[Reply] = [Reply("", False)] * len(group)
        for turn in range(max(len(case.says) for case in group)):
            live = [place for place, case in enumerate(group) if turn < len(case.says)]
            asked = [f"{prompts[p]}{USER}{group[p].says[turn]}{END}{ASSISTANT}" for p in live]
            for place, prompt, reply in zip(live, asked, model.answer(asked), strict=True):
                prompts[place], last[place] = f"{prompt}{reply.text}{END}", reply
        replies += last
        print(f"asked {len(replies)}/{len(cases)}", flush=True)
    return replies


def report(cases: list[Case], replies: list[Reply], with_wrong: bool) -> None:
    """Print one line a category, and the wrong answers if asked."""
    pairs = list(zip(cases, replies, strict=True))
    for case, reply in pairs:
        if with_wrong and not (case.is_right(reply.text) and reply.is_ended):
            print(f"WRONG {case.category}: {' / '.join(case.says)}\n      {reply.text[:160]}")
    for category in dict.fromkeys(case.category for case in cases):
        right = [case.is_right(reply.text) for case, reply in pairs if case.category == category]
        print(f"{category:8} {sum(right):4}/{len(right):<4} {100 * sum(right) / len(right):5.1f} %")
    ended = sum(reply.is_ended for reply in replies)
    print(f"{'ended':8} {ended:4}/{len(replies):<4} {100 * ended / len(replies):5.1f} %")


def parse(description: str | None, example: str, *switches: tuple[str, str]) -> argparse.Namespace:
    """Read the command line of a measure, and set the threads it asks for.

    switches  more of them: name, help
    """
    parser = argparse.ArgumentParser(
        description=description,
        epilog=example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", type=Path, default=HERE.parent / "bramble" / "embedded")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--wrong", action="store_true", help="print every wrong answer")
    for name, words in switches:
        parser.add_argument(name, action="store_true", help=words)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    return options


def main() -> None:
    """Ask and report."""
    options = parse(__doc__, EXAMPLE)
    cases = load_cases(HERE / "held_out.yml")
    report(cases, answer_all(Model(options.model), cases), options.wrong)


if __name__ == "__main__":
    main()
