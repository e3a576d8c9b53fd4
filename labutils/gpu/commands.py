"""The arguments of `lab bench gpu` and `lab bench pair`; what they do loads when they run."""

import argparse

FORMATS = ("none", "int8", "int4")


def add(kinds: argparse._SubParsersAction) -> None:
    """Add both to the kinds of `lab bench`."""
    about = "Memory and speed on a GPU by weights, KV cache and batch."
    _add_bench(kinds.add_parser("gpu", help=about, description=about))
    about = "Two GPUs: a server on each, or one on both; how fast?"
    _add_pair(kinds.add_parser("pair", help=about, description=about))


def _add_bench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", help="registry name or folder, 16 bit")
    parser.add_argument("--w4a16", help="folder of a model of that shape in W4A16, as well")
    parser.add_argument("--kv", nargs="+", choices=FORMATS, default=["none"])
    parser.add_argument("--batch", type=int, nargs="*", default=[1, 16, 64, 256])
    parser.add_argument("--prompt", type=int, default=128, help="prompt tokens (default 128)")
    parser.add_argument("--decode", type=int, default=256, help="decoded tokens (default 256)")
    parser.add_argument("--long", type=int, default=0, help="tokens of long prompts, batch 64")
    parser.add_argument("--cap", type=float, nargs="+", help="GiB of a GPU that an engine may see")
    parser.add_argument("--share", type=float, default=0.8, help="cache_max_entry_count")
    parser.add_argument("--tp", type=int, nargs="+", default=[1], help="GPUs that share the model")
    parser.add_argument("--prefill", type=int, nargs="+", help="the engine's max_prefill_token_num")
    parser.add_argument("--step", action="store_true", help="take a decode step at batch 1 apart")
    parser.add_argument("--minutes", type=float, help="begin no engine after that time")
    parser.add_argument("--out", help="JSON file (default: in data/results)")
    parser.set_defaults(run=_bench)


def _bench(args: argparse.Namespace) -> None:
    from labutils.gpu import bench

    bench.main(args)


def _add_pair(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, help="registry name or folder")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 32, 128])
    parser.add_argument("--tokens", type=int, default=128, help="of each answer (default 128)")
    parser.add_argument("--out", help="JSON file (default: in data/results)")
    parser.set_defaults(run=_pair)


def _pair(args: argparse.Namespace) -> None:
    from labutils.gpu import pair

    pair.main(args)
