"""Every policy that can be simulated, by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from router.simulation.baselines.least_outstanding import LeastOutstanding
from router.simulation.baselines.llm_d import LlmD
from router.simulation.baselines.nearest import Nearest
from router.simulation.baselines.oracles import Clairvoyant, Greedy
from router.simulation.baselines.prequal import Prequal
from router.simulation.baselines.round_robin import RoundRobin
from router.simulation.baselines.skywalker import SkyWalker
from router.simulation.baselines.two_choices import TwoChoices
from router.simulation.baselines.waterfall import Waterfall
from router.simulation.baselines.weighted import Weighted
from router.simulation.ours import Tradewind
from router.simulation.predictive import Predictive
from router.simulation.world import StrategyMaker


@dataclass(frozen=True, slots=True)
class Policy:
    """What can be asked for with --policy. `make` is called once a front door."""

    name: str
    about: str
    source: str  # Who describes it.
    make: StrategyMaker


_ALL: Final = (
    Policy("tradewind", "what the front door runs: nearest with free slots", "", lambda world: Tradewind()),
    Policy(
        "predictive", "what it will run: predicted seconds; not in the front door yet", "", lambda world: Predictive()
    ),
    Policy("nearest", "nearest only", "latency-based DNS, anycast", lambda world: Nearest()),
    Policy("round-robin", "each in turn", "any proxy", lambda world: RoundRobin()),
    Policy("weighted", "at random, by slots", "service meshes", lambda world: Weighted()),
    Policy(
        "least-outstanding",
        "fewest calls for its size, anywhere",
        "Envoy's least_request over all hosts",
        lambda world: LeastOutstanding(),
    ),
    Policy("two-choices", "the better of two at random", "Mitzenmacher 2001", lambda world: TwoChoices()),
    Policy(
        "waterfall",
        "nearest up to a limit of calls in flight, then the next",
        "Google Cloud, WATERFALL_BY_REGION",
        lambda world: Waterfall(),
    ),
    Policy("prequal", "probes; least latency among those that are not hot", "NSDI 2024", lambda world: Prequal()),
    Policy("skywalker", "held back until nothing is pending there", "EuroSys 2026", lambda world: SkyWalker()),
    Policy(
        "llm-d",
        "normalised queue depth and KV cache, prefix and session affinity",
        "llm-d Router 0.10",
        lambda world: LlmD(),
    ),
    Policy("oracle-greedy", "soonest first token, with perfect fresh state", "", lambda world: Greedy()),
    Policy("oracle-clairvoyant", "soonest last token, knowing every length", "", lambda world: Clairvoyant()),
)

POLICIES: Final[Mapping[str, Policy]] = MappingProxyType({policy.name: policy for policy in _ALL})
