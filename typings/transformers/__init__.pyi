"""The names of transformers that this project uses, each from its own module.

For the type checker only: the library's own `__init__` would make it read every model there is.
"""

from transformers.models.auto.tokenization_auto import AutoTokenizer as AutoTokenizer
from transformers.models.umt5.configuration_umt5 import UMT5Config as UMT5Config
from transformers.models.umt5.modeling_umt5 import UMT5EncoderModel as UMT5EncoderModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase as PreTrainedTokenizerBase
from transformers.tokenization_utils_tokenizers import PreTrainedTokenizerFast as PreTrainedTokenizerFast
