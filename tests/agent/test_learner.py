"""The learner: sizes, purity, packs, and the policy."""

import jax

from agent.config import make_config
from agent.envs.base import ArraySpec, DiscreteAction, EnvSpec
from agent.learner import count_parameters, init_train_state

IMAGE = ArraySpec((64, 64, 3), "uint8")


def test_atari100k_has_the_published_number_of_parameters():
    config = make_config(["atari100k"], {"task": "atari_pong"})
    state = init_train_state(config, EnvSpec({"image": IMAGE}, DiscreteAction(18)), key=jax.random.key(0))
    assert count_parameters(state.model) - count_parameters(state.model.harmony) == 15_693_955
    assert count_parameters(state.model.harmony) == 3
    assert count_parameters(state.actor) == 1_059_858
    assert count_parameters(state.critic) == count_parameters(state.slow) == 1_181_439
