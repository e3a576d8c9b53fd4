"""Compiles LMDeploy's modules for the CPU as they are imported.

LMDeploy names its device in its source: `torch.cuda.Stream()`, `device='cuda'`, `x.cuda()`. On the
syntax tree, in memory, this module turns

- `torch.cuda` into `labutils.cpu.cuda_stub`,
- the string `'cuda'` into `'cpu'` (whole strings only),
- `x.cuda(…)`, a copy to the device, into `x.clone()`,
- `torch._C._cuda_clearCublasWorkspaces()` into `None`,
- the list of floating-point formats an engine accepts into one that has `'float32'` too,

and then applies `labutils.cpu.patches`. Line numbers stay right, so tracebacks show LMDeploy's own
source. Left alone: TurboMind and the CUDA kernels, which the CPU device never calls.
"""

import ast
import importlib.machinery
from collections.abc import Sequence
from types import CodeType, ModuleType

STUB = "__labutils_cuda_stub__"
UNTOUCHED = (
    "lmdeploy.turbomind",
    "lmdeploy.pytorch.kernels",
    "lmdeploy.pytorch.backends.cuda",
    "lmdeploy.pytorch.backends.dlinfer",
    "lmdeploy.pytorch.disagg",
    "lmdeploy.pytorch.third_party",
)
DTYPES = ["auto", "float16", "bfloat16"]


class CudaToCpu(ast.NodeTransformer):
    """The rewriting rules; `hits` counts the replacements made."""

    def __init__(self) -> None:
        self.hits = 0

    def _replace(self, old: ast.AST, new: ast.AST) -> ast.AST:
        self.hits += 1
        return ast.copy_location(new, old)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        """'cuda' → 'cpu'."""
        return self._replace(node, ast.Constant("cpu")) if node.value == "cuda" else node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """torch.cuda → the stub."""
        self.generic_visit(node)
        if node.attr == "cuda" and isinstance(node.value, ast.Name) and node.value.id == "torch":
            return self._replace(node, ast.Name(STUB, node.ctx))
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """x.cuda(…) → x.clone(); the cuBLAS workspace call → None."""
        self.generic_visit(node)
        called = node.func
        if isinstance(called, ast.Attribute) and called.attr == "cuda":
            clone = ast.Attribute(called.value, "clone", ast.Load())
            return self._replace(node, ast.Call(clone, [], []))
        if isinstance(called, ast.Attribute) and called.attr == "_cuda_clearCublasWorkspaces":
            return self._replace(node, ast.Constant(None))
        return node

    def visit_List(self, node: ast.List) -> ast.AST:
        """['auto', 'float16', 'bfloat16'] → the same with 'float32'."""
        self.generic_visit(node)
        if [getattr(e, "value", None) for e in node.elts] == DTYPES:
            self.hits += 1
            node.elts.append(ast.copy_location(ast.Constant("float32"), node.elts[-1]))
        return node


def rewrite(source: bytes | str, filename: str) -> CodeType | None:
    """Compile `source` for the CPU, or None when no rule applies to it."""
    rules = CudaToCpu()
    tree = rules.visit(ast.parse(source, filename))
    if not rules.hits:
        return None
    stub = ast.ImportFrom("labutils.cpu", [ast.alias("cuda_stub", STUB)], 0)
    tree.body.insert(_after_header(tree.body), stub)
    return compile(ast.fix_missing_locations(tree), filename, "exec", dont_inherit=True)


def _after_header(body: Sequence[ast.stmt]) -> int:
    """Index of the first statement that an import may precede."""
    for index, statement in enumerate(body):
        is_docstring = index == 0 and isinstance(getattr(statement, "value", None), ast.Constant)
        is_future = isinstance(statement, ast.ImportFrom) and statement.module == "__future__"
        if not (is_docstring or is_future):
            return index
    return len(body)


class CpuLoader(importlib.machinery.SourceFileLoader):
    """Loads one module of LMDeploy, rewritten and patched."""

    def get_code(self, fullname: str) -> CodeType | None:
        """Rewritten code; modules that no rule touches come from Python's own bytecode cache."""
        path = self.get_filename(fullname)
        source = self.get_data(path)
        needs_rules = b"cuda" in source or b"bfloat16" in source
        code = rewrite(source, path) if needs_rules else None
        return code or super().get_code(fullname)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's body, then apply its patches."""
        from labutils.cpu import patches

        super().exec_module(module)
        patches.apply(module)


def find_spec(
    fullname: str, path: Sequence[str] | None = None
) -> importlib.machinery.ModuleSpec | None:
    """The spec of an LMDeploy module, with `CpuLoader` where the module is to be rewritten."""
    spec = importlib.machinery.PathFinder.find_spec(fullname, path)
    if spec is None or any(fullname == u or fullname.startswith(u + ".") for u in UNTOUCHED):
        return spec
    if fullname == "lmdeploy":
        from labutils.cpu import patches

        patches.check_version(spec)
    if type(spec.loader) is importlib.machinery.SourceFileLoader:
        spec.loader = CpuLoader(spec.loader.name, spec.loader.path)
    return spec
