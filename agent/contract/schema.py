"""The agent's configuration, typed: every key, its default and its bounds.

Key names are the ones of the published DreamerV3 configuration where it has them. The plain defaults are the
published ones (the xlarge model); presets in `configs/presets.yaml` change them by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from agent.contract.suites import Suite, suites

Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Above0 = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A frozen block of settings; unknown keys are errors and nothing is coerced."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)


class RSSM(Section):
    """Recurrent state-space model: deterministic size, hidden units, and the categorical latent."""

    deter: Positive = 4096
    units: Positive = 1024
    stoch: Positive = 32
    classes: Positive = 32
    unimix: Fraction = 0.01
    action_clip: Above0 = 1.0


class Encoder(Section):
    """Image and vector encoders; the image halves until `minres`, its depth doubling from `cnn_depth`."""

    mlp_layers: Positive = 5
    mlp_units: Positive = 1024
    cnn_depth: Positive = 96
    minres: Positive = 4
    symlog_inputs: bool = True


class Decoder(Section):
    """Image and vector decoders, the encoder's mirror."""

    mlp_layers: Positive = 5
    mlp_units: Positive = 1024
    cnn_depth: Positive = 96
    minres: Positive = 4
    outscale: Rate = 1.0


class TwoHotHead(Section):
    """An MLP with a two-hot symlog output over `bins` points in [-20, 20]."""

    layers: Positive = 5
    units: Positive = 1024
    bins: Annotated[int, Field(ge=3)] = 255
    outscale: Rate = 0.0


class BinaryHead(Section):
    """An MLP with one Bernoulli logit."""

    layers: Positive = 5
    units: Positive = 1024
    outscale: Rate = 1.0


class Actor(Section):
    """The policy: unimixed one-hot for discrete actions, Normal with bounded deviation for continuous ones."""

    layers: Positive = 5
    units: Positive = 1024
    minstd: Above0 = 0.1
    maxstd: Above0 = 1.0
    outscale: Rate = 1.0
    unimix: Fraction = 0.01


class LossScales(Section):
    """Fixed factors on the loss terms; HarmonyDream's learned weights come on top of dyn/rep only by their ratio."""

    image: Rate = 1.0
    vector: Rate = 1.0
    reward: Rate = 1.0
    cont: Rate = 1.0
    dyn: Rate = 0.5
    rep: Rate = 0.1
    actor: Rate = 1.0
    critic: Rate = 1.0
    slowreg: Rate = 1.0


class FreeNats(Section):
    """Nats below which a KL term is not pushed further."""

    free: Rate = 1.0


class Adam(Section):
    """Adam after clipping by global norm, which `clip` 0 leaves out; `eps` is added outside the root."""

    lr: Above0 = 1e-4
    eps: Above0 = 1e-8
    clip: Rate = 1000.0


class RetNorm(Section):
    """Moving percentiles of the imagined returns that scale the advantage."""

    decay: Fraction = 0.99
    max: Above0 = 1.0
    perclo: Annotated[float, Field(ge=0, le=100)] = 5.0
    perchi: Annotated[float, Field(ge=0, le=100)] = 95.0


class AtariEnv(Section):
    """Atari through ALE. `length` counts raw frames; `limit_is_terminal` is the published behaviour."""

    repeat: Positive = 4
    size: Positive = 64
    length: Positive = 108000
    noops: NonNegative = 30
    sticky: Fraction = 0.0
    full_actions: bool = False
    limit_is_terminal: bool = True


class MetaworldEnv(Section):
    """Meta-world v3. `render`: `reference` looks as the published run did, `fast` drops shadows and multisampling.

    `obs` `state` shows the 39 numbers of the simulator instead of images; it needs no OpenGL.
    """

    obs: Literal["image", "state"] = "image"
    repeat: Positive = 1
    size: Positive = 64
    length: Annotated[int, Field(gt=0, le=500)] = 500
    camera: Literal["corner", "corner2", "corner3", "corner4", "topview", "behindGripper", "gripperPOV"] = "corner"
    render: Literal["reference", "fast"] = "reference"


class CatchEnv(Section):
    """The built-in Catch: a ball falls down a board of `rows` x `columns`, drawn at `size` pixels."""

    rows: Annotated[int, Field(ge=2)] = 8
    columns: Annotated[int, Field(ge=2)] = 8
    size: Positive = 16


class GymEnv(Section):
    """Any gymnasium environment. `module` is imported first (to register ids); `length` 0 leaves the limit to it.

    `obs` `native` shows what the environment shows, `render` a picture of it, `size` pixels wide and high.
    """

    module: str = ""
    obs: Literal["native", "render"] = "native"
    repeat: Positive = 1
    size: Positive = 64
    length: NonNegative = 0


class DmcEnv(Section):
    """DM Control. `proprio` shows the task's vectors, `vision` one camera (-1: the task's usual one)."""

    obs: Literal["proprio", "vision"] = "proprio"
    repeat: Positive = 2
    size: Positive = 64
    camera: Annotated[int, Field(ge=-1)] = -1


class CrafterEnv(Section):
    """Crafter, from images."""

    repeat: Positive = 1
    size: Positive = 64
    length: Positive = 10000


class KnownEnvSettings(Section):
    """How many training environments, where they run, and each suite's settings.

    `hang_s`: seconds after which an environment in the training process that does not come back from a step ends its
    run; 0: never. One in a worker process is replaced after two minutes.
    """

    amount: Positive = 4
    processes: Literal["auto", "on", "off"] = "auto"
    hang_s: Rate = 600.0
    atari: AtariEnv = AtariEnv()
    metaworld: MetaworldEnv = MetaworldEnv()
    catch: CatchEnv = CatchEnv()
    gym: GymEnv = GymEnv()
    dmc: DmcEnv = DmcEnv()
    crafter: CrafterEnv = CrafterEnv()


if TYPE_CHECKING:
    EnvSettings = KnownEnvSettings
else:

    def _section(suite: Suite) -> Section:
        """Return a suite's settings as its class defaults them, of a model with a name here, for pickles."""
        name = f"{suite.kind}Env"
        fields = {key: (type(value), value) for key, value in suite.settings.items()}
        globals()[name] = model = create_model(name, __base__=Section, __module__=__name__, **fields)
        return model()

    _others = {n: _section(s) for n, s in suites().items() if n not in KnownEnvSettings.model_fields}
    _fields = {name: (type(section), section) for name, section in _others.items()}
    EnvSettings = create_model("EnvSettings", __base__=KnownEnvSettings, __module__=__name__, **_fields)


class Schedule(Section):
    """The schedule. Steps are stored transitions of any environment, the reset record included.

    `steps` ends the run (prefill counts); `train_ratio` is the number of replayed steps per environment step;
    `prefill` is the number of replay windows that random actions must fill, in blocks of `block` steps. `eval_overlap`
    lets training go on while evaluations are played; `auto`: on a GPU, with environments in worker processes.
    """

    steps: Positive = 1_000_000
    train_ratio: Above0 = 32.0
    prefill: NonNegative = 0
    block: Positive = 100
    eval_every: Positive = 10_000
    eval_episodes: NonNegative = 10
    eval_initial: bool = True
    eval_envs: Positive = 10
    eval_overlap: Literal["auto", "on", "off"] = "auto"
    log_every: Positive = 1_000
    checkpoint_every_s: Above0 = 600.0


class Replay(Section):
    """Uniform replay of the latest `capacity` windows, on the `device` or in `host` memory."""

    capacity: Positive = 1_000_000
    store: Literal["auto", "device", "host"] = "auto"


class Jax(Section):
    """Platform, memory and numerics of JAX; only `precision` changes what a run computes.

    `conv`: XLA's own convolutions, patches times a matrix, or the latter a few images at a time (`auto` on a CPU).
    `one_hot`: imagined states times kernels by looking rows up (`auto` on a CPU) or by multiplying.
    `observe_unroll` and `imagine_unroll` 0: several steps per iteration of the scans on a GPU, one on a CPU.
    """

    platform: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    prealloc: bool = True
    mem_fraction: Annotated[float, Field(ge=0, le=1)] = 0.0
    compilation_cache: str = "auto"
    conv: Literal["auto", "lax", "matmul", "chunks"] = "auto"
    one_hot: Literal["auto", "lookup", "matmul"] = "auto"
    scan: Literal["fast", "plain"] = "fast"
    observe_unroll: NonNegative = 0
    imagine_unroll: NonNegative = 0
    debug_nans: bool = False


class Config(Section):
    """One run of the agent, complete: a task, a seed, a method, and everything that shapes its numbers."""

    task: str = "catch"
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    method: str = "harmony_dreamerv3"
    batch_size: Positive = 16
    batch_length: Annotated[int, Field(ge=2)] = 64
    grad_heads: tuple[Literal["decoder", "reward", "cont"], ...] = ("decoder", "reward", "cont")
    rssm: RSSM = RSSM()
    encoder: Encoder = Encoder()
    decoder: Decoder = Decoder()
    reward_head: TwoHotHead = TwoHotHead()
    cont_head: BinaryHead = BinaryHead()
    loss_scales: LossScales = LossScales()
    dyn_loss: FreeNats = FreeNats()
    rep_loss: FreeNats = FreeNats()
    model_opt: Adam = Adam()
    actor: Actor = Actor()
    critic: TwoHotHead = TwoHotHead()
    actor_opt: Adam = Adam(lr=3e-5, eps=1e-5, clip=100.0)
    critic_opt: Adam = Adam(lr=3e-5, eps=1e-5, clip=100.0)
    imag_horizon: Positive = 15
    horizon: Annotated[float, Field(gt=1)] = 333.0
    return_lambda: Fraction = 0.95
    slow_critic_update: Positive = 1
    slow_critic_fraction: Fraction = 0.02
    retnorm: RetNorm = RetNorm()
    actent: Rate = 3e-4
    env: EnvSettings = EnvSettings()
    run: Schedule = Schedule()
    replay: Replay = Replay()
    jax: Jax = Jax()
