"""``rondeau corpus``: count what a text holds; ``rondeau corpus build`` is in a file of its own."""

from collections.abc import Sequence
from pathlib import Path

from rondeau.train._extras import how_to_install
from rondeau.train._options import TEXT_HELP, TextOptions, pick
from rondeau.train._parser import CommandParser
from rondeau.train._showing import counted, say
from rondeau.train._usage_error import UsageError, in_words


def _parser() -> CommandParser:
    parser = CommandParser(
        "corpus",
        "[CORPUS]",
        "Count what a text holds: its vocabulary, its most frequent n-grams, and how their counts fall "
        "with their rank (Zipf's law). `rondeau corpus build` encodes text that does not fit in memory: see "
        "`rondeau corpus build --help`. (To count a file that is called build, give ./build.)",
    )
    parser.add_argument(
        "corpus", metavar="CORPUS", nargs="?", help=f"{TEXT_HELP}; by default Python's own text"
    )
    parser.add_argument("--ngrams", type=int, default=3, help="count runs of up to this many tokens")
    parser.add_argument("--top", type=int, default=10, help="how many of the most frequent to print")
    parser.add_argument("--plot", type=str, help="a PNG file to draw the counts into")
    parser.add_argument(
        "--line_ends",
        action="store_true",
        help="with --tokens words, count line ends too; by default they are left out",
    )
    parser.add_class_arguments(TextOptions, as_group=True, skip={"held_out"})
    parser.set_defaults(tokens="words")
    return parser


def run(argv: Sequence[str]) -> int:
    """Print the tables, or build a corpus; return the exit status."""
    if argv[:1] == ["build"]:
        from rondeau.train._commands import _corpus_build

        return _corpus_build.run(argv[1:])
    arguments = _parser().parse(argv)
    from rondeau.data import TokenStream, count_ngrams, fit_zipf
    from rondeau.train._corpora import TextCorpus, load_corpus
    from rondeau.train._corpus import TOKEN_NAMES, count_unknown, make_codec, share
    from rondeau.train._plots import can_plot, plot_zipf

    if arguments.plot is not None and not can_plot():
        raise UsageError(f"--plot: needs matplotlib; {how_to_install('plot')}")
    options = pick(TextOptions, arguments)
    corpus = load_corpus(arguments.corpus)
    if not isinstance(corpus, TextCorpus):
        raise UsageError(
            f"{corpus.name} is a folder of tokens; expected a text, such as one that it was built from"
        )
    codec = make_codec(corpus.text, options)
    ids = codec.encode(corpus.text)
    if options.tokens == "words" and not arguments.line_ends and "\n" in codec.vocab:
        ids = ids[ids != codec.vocab["\n"]]
    stream = TokenStream(ids, len(codec))
    token = TOKEN_NAMES[options.tokens]
    sizes = dict.fromkeys([counted(corpus.characters, "character"), counted(len(stream), token)])
    say(f"{corpus.name}: {', '.join(sizes)}")
    if unknown := count_unknown(stream, codec):
        say(
            f"{share(unknown, len(stream))} of them are <unk>, seen fewer than {options.min_freq} times (--min_freq)"
        )
    tables, fits = {}, {}
    for n in range(1, arguments.ngrams + 1):
        try:
            table = count_ngrams(stream, n)
        except ValueError as error:
            raise UsageError(f"--ngrams: {error}") from error
        label = {1: f"{token}s", 2: f"pairs of {token}s", 3: f"triples of {token}s"}.get(
            n, f"runs of {n} {token}s"
        )
        tables[label] = table
        once = int((table.counts == 1).sum())
        say(f"\n{label}: {len(table):,} distinct, {once:,} of them once")
        width = max((len(str(count)) for count in table.counts[: arguments.top]), default=1)
        for ngram, count in table.most_common(arguments.top, codec.vocab):
            say(f"  {count:{width}}  {' '.join(map(_visible, ngram))}")
        # The most frequent lie below Zipf's line, and those seen once form one long step.
        last = int((table.counts > 1).sum())
        first = min(10, max(1, last // 10))
        if last - first >= 2:
            fit = fits[label] = fit_zipf(table.counts, first, last)
            say(
                f"  Zipf: the count falls as rank to the power of -{fit.exponent:.3f} (ranks {first:,} to {last:,})"
            )
    if arguments.plot is not None:
        path = Path(arguments.plot)
        try:
            plot_zipf(tables, fits, path)
        except OSError as error:
            raise UsageError(f"--plot: {in_words(error)}") from error
        say(f"\nplot: {path}")
    return 0


def _visible(token: str) -> str:
    return repr(token) if not token.strip() or not token.isprintable() else token
