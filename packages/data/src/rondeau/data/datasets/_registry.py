"""What there is to download: the files of every named data set, their addresses, their SHA-256, their licence."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class File:
    """A file of a data set.

    Attributes
    ----------
    path : str
        Where it lies below a folder of data sets.
    sha256 : str
        Of the file as it lies there: packed (``.gz``) files stay packed.
    url : str
        The upstream's address, of the file or of an archive that holds it.
    member : str or None
        How the file's path ends within the archive; None where the address is the file's own.
    """

    path: str
    sha256: str
    url: str
    member: str | None = None


@dataclass(frozen=True)
class Entry:
    """A data set: what it is, under what licence (as its source states it), and its files."""

    what: str
    licence: str
    files: tuple[File, ...]


_CHAR_RNN = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/"
_MAKEMORE = "https://raw.githubusercontent.com/karpathy/makemore/master/"
_D2L = "http://d2l-data.s3-accelerate.amazonaws.com/"
_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_BROWNLEE = "https://raw.githubusercontent.com/jbrownlee/Datasets/master/"
_SURNAMES = "https://download.pytorch.org/tutorial/data.zip"
_BABI = "https://s3.amazonaws.com/text-datasets/babi_tasks_1-20_v1-2.tar.gz"

_SURNAME_SHA256 = {
    "Arabic": "6f424a8dbe51cbbbabab7a57d38b617210125e4e3991f3c657cb79b8f104bafc",
    "Chinese": "49263ef55a8cb1740e841d65cad8214b2f9b5b869bc534c811746422496fa91e",
    "Czech": "145bbbd6d0816578f03388e92c264d39ef1c60df920b081d371fa5c5cc055a8e",
    "Dutch": "924f32b635170eae561f84538632138fc07d4c8bbd70ba3fb980de1ecc4d2af3",
    "English": "9cca037066d3d5989e24bc01801416162de506b5e28e15b7c092a47905d29bf2",
    "French": "81e65b36c60ed5b89a17422f6edcadbb89546f38ad69e960e64e7ba682012a95",
    "German": "7449cd590b97a733e18d613a4155decd77ec35dc5f8aadd7a82204dce4f051db",
    "Greek": "3555b5186de7f401e6d991b088e9e644ca3099116477818c25ab5793801389e6",
    "Irish": "cf8c7013256252a88d2503127b87282a11f21b2ff6db1bded68834c19a1ec058",
    "Italian": "f88414c27d0606a11a678b4859277828c2565d6cc4d9ee932deef6e94f3b35e4",
    "Japanese": "e0e717e114fec3e7eade4d9dabe0067c475f43147e36a22b47902ee76ad9e67f",
    "Korean": "cd54221ccb362a6cba4c78828838cf3268a0e59744767a37cf6ec4b74036b136",
    "Polish": "45bab898af2f60ed3a728bbf6980e28821011a7caa53227553b5785903a40826",
    "Portuguese": "50a8735f41f4f73757c8ce5b16cb0275cd86b2b214bcbc8c9805f508cb131c53",
    "Russian": "43b3e64ce351f77f1ac9e0cdf7566012d127f4371875fd25208845b5c9d6f7c3",
    "Scottish": "78d0252711d87d948ea86fe34826c51d2d794a8e52d15b5d6f7b6244d45d62dd",
    "Spanish": "1bcb462ed3316756a85781d68232bddae04498fdddd5d9219c53fd1fbdeba7a7",
    "Vietnamese": "f3f9e4164ab47601178a6e45b216464a64122f49d05541f24bf18a757253281d",
}
LANGUAGES = tuple(_SURNAME_SHA256)

DATASETS: dict[str, Entry] = {
    "tinyshakespeare": Entry(
        "1,115,394 characters of Shakespeare's plays (karpathy/char-rnn)",
        "MIT; the text is in the public domain",
        (
            File(
                "tinyshakespeare.txt",
                "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
                _CHAR_RNN + "tinyshakespeare/input.txt",
            ),
        ),
    ),
    "timemachine": Entry(
        "The Time Machine by H. G. Wells, 178,979 characters, as d2l uses it",
        "public domain",
        (
            File(
                "timemachine.txt",
                "8424dbd9532ac81f7e5f0b6add90e6952baea29158309d7d1bf3884f4e12c516",
                _D2L + "timemachine.txt",
            ),
        ),
    ),
    "names": Entry(
        "32,033 first names in lower case, from ssa.gov (karpathy/makemore)",
        "MIT",
        (
            File(
                "names.txt",
                "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d",
                _MAKEMORE + "names.txt",
            ),
        ),
    ),
    "names_by_language": Entry(
        "20,074 surnames of 18 languages (spro/practical-pytorch)",
        "MIT",
        tuple(
            File(f"names_by_language/{language}.txt", sha256, _SURNAMES, f"names/{language}.txt")
            for language, sha256 in _SURNAME_SHA256.items()
        ),
    ),
    "mnist": Entry(
        "70,000 handwritten digits of 28 x 28 pixels, 60,000 to train on and 10,000 to test",
        "CC BY-SA 3.0",
        (
            File(
                "mnist/train-images-idx3-ubyte.gz",
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                _MNIST + "train-images-idx3-ubyte.gz",
            ),
            File(
                "mnist/train-labels-idx1-ubyte.gz",
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                _MNIST + "train-labels-idx1-ubyte.gz",
            ),
            File(
                "mnist/t10k-images-idx3-ubyte.gz",
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                _MNIST + "t10k-images-idx3-ubyte.gz",
            ),
            File(
                "mnist/t10k-labels-idx1-ubyte.gz",
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                _MNIST + "t10k-labels-idx1-ubyte.gz",
            ),
        ),
    ),
    "pima_diabetes": Entry(
        "8 measurements of 768 women, 268 of whom developed diabetes (UCI, jbrownlee/Datasets)",
        "none stated",
        (
            File(
                "pima-indians-diabetes.csv",
                "6bfe5d0f379d17a0e0819b996407e3c09bf80febd4287f2ed212190dfff154af",
                _BROWNLEE + "pima-indians-diabetes.csv",
            ),
        ),
    ),
    "babi_qa1": Entry(
        "bAbI task 1, one supporting fact: 10,000 questions to train on and 1,000 to test (en-10k)",
        "CC BY 3.0",
        (
            File(
                "babi/qa1_single-supporting-fact_train.txt",
                "c55ab2224d096363fef2eec026b783f6b08508cc865f1f9b7ed4bae4f6f2b9a0",
                _BABI,
                "en-10k/qa1_single-supporting-fact_train.txt",
            ),
            File(
                "babi/qa1_single-supporting-fact_test.txt",
                "809e52cc3c57ac66bf5a7268636a24e15ad1552d9b9bdac0eaca1680da9722e9",
                _BABI,
                "en-10k/qa1_single-supporting-fact_test.txt",
            ),
        ),
    ),
    "sunspots": Entry(
        "monthly mean sunspot numbers, 1749 to 1983 (jbrownlee/Datasets)",
        "none stated",
        (
            File(
                "timeseries/monthly-sunspots.csv",
                "c4ec8cc57d9f6fb6ecdb3e1f37f25b6f4badd5124c55931052b0cd2fc3bc71f3",
                _BROWNLEE + "monthly-sunspots.csv",
            ),
        ),
    ),
    "airline_passengers": Entry(
        "international airline passengers a month in thousands, 1949 to 1960 (jbrownlee/Datasets)",
        "none stated",
        (
            File(
                "timeseries/airline-passengers.csv",
                "8cb51be753a718d9be5d76d7e238cc224792754676adc21faa59e954b0201621",
                _BROWNLEE + "airline-passengers.csv",
            ),
        ),
    ),
    "min_temperatures": Entry(
        "daily minimum temperatures of Melbourne in degrees Celsius, 1981 to 1990 (jbrownlee/Datasets)",
        "none stated",
        (
            File(
                "timeseries/daily-min-temperatures.csv",
                "8b9de63ed6789492bf497625e7f9beb96a63d367b4b0a21754006f749fa5e5da",
                _BROWNLEE + "daily-min-temperatures.csv",
            ),
        ),
    ),
}
"""The data sets by name."""

TEXTS = ("names", "timemachine", "tinyshakespeare")
"""The data sets that are one text, which a language model can be trained on."""
