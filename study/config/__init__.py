"""What a run is: frozen, validated configuration, its hash, and the one door between plain dicts and it.

The words are DESIGN's: a `RunConfig` describes one recipe completely; each of its stages is determined by a part of it
(`stage_part`), and that part alone decides whether two runs may share an artifact (`stage_key`).
"""

from study.config.door import (
    ConfigError,
    flatten,
    from_dict,
    get,
    known_paths,
    parse_assignments,
    replace,
    to_dict,
)
from study.config.keys import INITIAL_WEIGHTS, NUMERICS_VERSION, decoder_as_run, digest, stage_key, stage_part
from study.config.parts import (
    AUTOENCODED,
    SPSR_TAPS,
    AutoencoderConfig,
    Budget,
    Cadence,
    Criterion,
    DataConfig,
    DegradationName,
    DiscriminatorConfig,
    FidelityConfig,
    Frozen,
    GanKind,
    GeneratorConfig,
    Guidance,
    LossConfig,
    Optimiser,
    PerceptualLayers,
    PerceptualNetwork,
    Stage,
)
from study.config.run import RunConfig

__all__ = [
    "AUTOENCODED",
    "INITIAL_WEIGHTS",
    "NUMERICS_VERSION",
    "SPSR_TAPS",
    "AutoencoderConfig",
    "Budget",
    "Cadence",
    "ConfigError",
    "Criterion",
    "DataConfig",
    "DegradationName",
    "DiscriminatorConfig",
    "FidelityConfig",
    "Frozen",
    "GanKind",
    "GeneratorConfig",
    "Guidance",
    "LossConfig",
    "Optimiser",
    "PerceptualLayers",
    "PerceptualNetwork",
    "RunConfig",
    "Stage",
    "decoder_as_run",
    "digest",
    "flatten",
    "from_dict",
    "get",
    "known_paths",
    "parse_assignments",
    "replace",
    "stage_key",
    "stage_part",
    "to_dict",
]
