"""The house numbers, and the rules that no linter knows. What stands where is said in docs/; here it is held to."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("core", "bots", "api", "sandbox", "bench")
FILES = sorted(
    [ROOT / "cli.py", ROOT / "demo.py", ROOT / "dev.py", *(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))],
)
OURS = [file for file in FILES if file.relative_to(ROOT).parts[0] in ("core", "bots", "api")]
PARSED = {file: ast.parse(file.read_text(encoding="utf-8")) for file in FILES}

FILE_LINES = 400
FUNCTION_LINES = 70
PROTOCOL_METHODS = 5
MONEY = ("core/money.py", "core/catalog.py", "core/ledger", "core/payments")
VAGUE = re.compile(r"(^|_)(utils?|common|helpers?|managers?|misc)(_|$)", re.IGNORECASE)

FEATURE_FILES = {"__init__", "models", "rules", "service", "errors"}
"""What every feature folder of core may hold, and nothing else but …"""
VERBS = {
    "admit",
    "close",
    "gather",
    "take_back",
    "earn",
    "digest",
    "retire",
    "sign",
    "reward",
    "spend",
    "vote",
    "promise",
    "sponsor",
    "refill",
    "submit",
    "claim",
    "settle",
    "audit",
    "seal",
    "receive",
    "refund",
    "release",
    "resolve",
    "rotate",
    "probe",
    "lend",
    "publish",
    "hand_over",
    "control",
    "alert",
    "record",
}
"""… a service that grew, split by what it does, …"""
SPECIAL = {
    "providers": None,  # base.py and one file per vendor
    "scheduler": {"policy"},
    "vault": {"secret", "keyring", "redact", "wrapping", "transit"},
    "payments": {"rails", "packages"},
    "ledger": {"statement"},
    "generations": {"pages"},
    "mailbox": {"inbox", "outbox"},
}
"""… or what the design names for this one folder; None stands for anything."""


def where(file: Path, node: ast.AST | None = None) -> str:
    line = f":{node.lineno}" if isinstance(node, ast.stmt | ast.expr) else ""
    return f"{file.relative_to(ROOT).as_posix()}{line}"


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_there_is_something_to_check() -> None:
    assert len(FILES) > 30
    assert all((ROOT / package / "__init__.py").is_file() for package in PACKAGES)


def test_files_are_short() -> None:
    long = [f"{where(file)} has {lines}" for file in FILES if (lines := len(file.read_text(encoding="utf-8").splitlines())) > FILE_LINES]
    assert not long, f"at most {FILE_LINES} lines a file"


def test_functions_are_short() -> None:
    long = [
        f"{where(file, function)} {function.name} has {lines}"
        for file, tree in PARSED.items()
        for function in functions(tree)
        if (lines := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LINES
    ]
    assert not long, f"at most {FUNCTION_LINES} lines a function"


def test_init_files_are_empty() -> None:
    assert not [where(file) for file in FILES if file.name == "__init__.py" and file.read_text(encoding="utf-8")]


def test_names_say_something() -> None:
    vague = [where(file) for file in FILES if any(VAGUE.search(part) for part in file.relative_to(ROOT).with_suffix("").parts)]
    vague += [
        f"{where(file, node)} {node.name}"
        for file, tree in PARSED.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and re.search(r"(Utils?|Common|Helpers?|Manager)$", node.name)
    ]
    assert not vague, "a name says what the thing is, not that it is useful"


def test_imports_stand_at_the_top() -> None:
    inside = {
        where(file, node)
        for file, tree in PARSED.items()
        for function in functions(tree)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert not inside


def test_transactions_end_in_one_place() -> None:
    endings = [
        where(file, node)
        for file, tree in PARSED.items()
        if file.relative_to(ROOT).parts[0] in ("core", "bots", "api") and where(file) != "core/db.py"
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and node.attr in ("commit", "rollback"))
        or (isinstance(node, ast.Constant) and isinstance(node.value, str) and re.match(r"\s*(COMMIT|ROLLBACK)\b", node.value))
    ]
    assert not endings, "commit and rollback stand in core/db.py alone"


def test_money_is_whole_numbers() -> None:
    money = [file for file in OURS if where(file).startswith(MONEY)]
    assert len(money) > 3
    floats = [
        where(file, node)
        for file in money
        for node in ast.walk(PARSED[file])
        if (isinstance(node, ast.Constant) and isinstance(node.value, float))
        or (isinstance(node, ast.Name) and node.id in ("float", "Float", "Numeric", "REAL"))
        or (isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div))
    ]
    assert not floats, "amounts are integers of milli-credits"


def test_protocols_are_short() -> None:
    long = [
        f"{where(file, node)} {node.name}"
        for file, tree in PARSED.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and any("Protocol" in ast.unparse(base) for base in node.bases)
        if len(list(functions(node))) > PROTOCOL_METHODS
    ]
    assert not long, f"at most {PROTOCOL_METHODS} methods"


def test_features_are_laid_out_alike() -> None:
    strange = []
    for folder in (child for child in (ROOT / "core").iterdir() if (child / "__init__.py").is_file()):
        allowed = SPECIAL.get(folder.name, set())
        if allowed is not None:
            strange += [where(file) for file in folder.glob("*.py") if file.stem not in FEATURE_FILES | VERBS | allowed]
            strange += [where(child) for child in folder.iterdir() if (child / "__init__.py").is_file() and child.name not in allowed]
    assert not strange, "row, decision, action or failure: models, rules, service (or a verb), errors"


def test_what_is_public_is_described() -> None:
    bare = []
    for file in OURS:
        if file.name == "__init__.py":
            continue
        if not ast.get_docstring(PARSED[file]):
            bare.append(where(file))
        bare += [f"{where(file, node)} {node.name}" for node in _public(PARSED[file]) if not ast.get_docstring(node)]
    assert not bare, "public modules, classes and functions carry a docstring"


def _public(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """What a module defines at its top, and the methods of its public classes."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                methods = (child for child in node.body if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))
                yield from (method for method in methods if not method.name.startswith("_"))


@pytest.mark.parametrize("name", ["app", "dev"])
def test_the_lock_is_complete(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["build"]]
    wanted += project["dependency-groups"]["dev"] if name == "dev" else []
    names = {_normal(re.split(r"[^A-Za-z0-9._-]", requirement)[0]) for requirement in wanted}
    assert names <= _pins(name).keys(), "run `make lock`"


def test_the_lock_of_the_tests_holds_that_of_the_product() -> None:
    assert _pins("app").items() <= _pins("dev").items(), "run `make lock`"


def test_the_lock_names_no_index() -> None:
    for name in ("app", "dev"):
        assert "://" not in (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")


def _pins(name: str) -> dict[str, str]:
    lines = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split(" ")[0].partition("==")[::2] for line in lines if "==" in line and line[0].isalnum())
    return {_normal(pair[0].partition("[")[0]): pair[1] for pair in pairs}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
