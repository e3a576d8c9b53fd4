"""`python -m labutils.chat`: chat with a model on a page in the browser."""

import argparse
import sys

from labutils import cli
from labutils.chat import page

parser = argparse.ArgumentParser(
    prog="python -m labutils.chat",
    description="Chat with a model on a page in the browser; Ctrl-C ends it.",
)
parser.add_argument("--model", default=None, help="registry name or folder")
parser.add_argument("--port", type=int, default=None, help="of the page; none takes a free one")
parser.add_argument("--language", choices=("en", "zh"), default="en", help="of the page")
parser.set_defaults(run=lambda args: page.main(args.model, args.port, args.language))

if __name__ == "__main__":
    sys.exit(cli.run(parser))
