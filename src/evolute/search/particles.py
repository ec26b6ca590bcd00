"""Particles: the published search, a mutation-only genetic algorithm of independent chains.

Random candidates go through the initial stage; the best become particles. Each is scored on the
main stage, then for k time steps it draws m children and moves to the best of them.

Source: Morgan and Hougen, Neural Optimizer Equation, Decay Function, and Learning Rate Schedule
Joint Evolution, 2024, arXiv 2404.06679 (published method, section 7).
"""

from __future__ import annotations

from collections.abc import Container
from enum import StrEnum
from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from evolute.search.base import Proposal, ProposalKind, Result, Search, Stage
from evolute.search.brood import Brood
from evolute.search.candidate import Candidate, mutant_candidate, random_candidate
from evolute.search.drawing import DrawConfig
from evolute.search.ledger import Ledger
from evolute.search.mutation import MutationConfig
from evolute.search.space import SearchSpace
from evolute.search.state import candidate_from_json, candidate_to_json
from evolute.search.texts import Texts
from evolute.seeds import python_generator


class Accept(StrEnum):
    """When a particle moves to its best child: always, as published, or only to a fitter one."""

    ALWAYS = "always"
    IMPROVING = "improving"


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ParticleConfig:
    """Size of the search and its probabilities; the defaults are the published ones.

    Parameters
    ----------
    initial_candidates
        Random candidates scored in the initial stage; degenerate ones and duplicates do not count.
    particles
        Chains, n; fewer if fewer candidates finish the initial stage.
    time_steps
        Moves of each chain, k.
    children
        Children per move, m.
    tries
        Candidates that may fail in the place of one child.
    accept
        When a particle moves.
    spares
        Children drawn ahead for each one, in case it fails: the same children win, sooner, and
        trainings are spent on those that were not needed. For many workers.
    drawing, mutation
        Probabilities of sections 3 and 4.
    """

    initial_candidates: Annotated[int, Field(ge=1, le=1_000_000)] = 500
    particles: Annotated[int, Field(ge=1, le=100_000)] = 50
    time_steps: Annotated[int, Field(ge=0, le=10_000)] = 5
    children: Annotated[int, Field(ge=1, le=10_000)] = 7
    tries: Annotated[int, Field(ge=1, le=100)] = 4
    accept: Accept = Accept.ALWAYS
    spares: Annotated[int, Field(ge=0, le=99)] = 0
    drawing: DrawConfig = DrawConfig()
    mutation: MutationConfig = MutationConfig()

    def __post_init__(self) -> None:
        if self.particles > self.initial_candidates:
            raise ValueError(
                f"particles is {self.particles}, more than the {self.initial_candidates} initial "
                "candidates they are chosen from: lower it, or raise initial_candidates"
            )


class ParticleSearch(Search):
    """The published search as ask and tell.

    A particle's children are asked as soon as its own results are told; it never waits for other
    particles. One whose children all fail stays where it is. If no candidate finishes the initial
    stage, the search is finished and has no best.

    Parameters
    ----------
    config
        Size and probabilities.
    seed
        Seed of the run.
    space
        What is drawn; by default everything that is registered when the search is made.

    Examples
    --------
    >>> from evolute.trial import OutcomeKind
    >>> search = ParticleSearch(ParticleConfig(initial_candidates=2, particles=1), seed=0)
    >>> while not search.finished:
    ...     for proposal in search.ask():
    ...         search.tell(proposal.number, Result(OutcomeKind.FINISHED, 1.0))
    >>> search.proposed  # 2 candidates, 1 promotion, 5 steps of 7 children
    38
    """

    def __init__(
        self, config: ParticleConfig, *, seed: int, space: SearchSpace | None = None
    ) -> None:
        self._config = config
        self._seed = seed
        self._space = space or SearchSpace.from_registries()
        self._ledger = Ledger()
        self._particles: list[_Particle] | None = None
        self._initial = Brood(
            self._draw_initial,
            size=config.initial_candidates,
            tried=(),
            tries=1,
            redraw_duplicates=True,
        )

    def ask(self) -> tuple[Proposal, ...]:
        for proposal, result in self._ledger.collect():
            self._settle(proposal, result)
        if self._particles is None:
            proposals = self._ledger.propose_brood(self._initial, stage=Stage.INITIAL)
            if self._initial.complete:
                self._particles = self._promoted()
                proposals += [self._promotion(particle) for particle in self._particles]
            return tuple(proposals)
        return tuple(
            proposal for particle in self._particles for proposal in self._follow(particle)
        )

    def tell(self, number: int, result: Result) -> None:
        self._ledger.tell(number, result)

    def state(self) -> Any:
        particles = self._particles
        return {
            "ledger": self._ledger.state(),
            # Once there are particles, it is complete, and nobody asks what it held.
            "initial": self._initial.state() if particles is None else None,
            "particles": particles and [particle.state() for particle in particles],
        }

    def restored(self, state: Any) -> Search:
        restored = ParticleSearch(self._config, seed=self._seed, space=self._space)
        restored._ledger.load(state["ledger"])
        if state["particles"] is None:
            restored._initial.load(state["initial"])
            return restored
        restored._initial.close()
        restored._particles = [
            _Particle.restored(index, data, self._config)
            for index, data in enumerate(state["particles"])
        ]
        for particle, data in zip(restored._particles, state["particles"], strict=True):
            if data["step"]:
                particle.brood = restored._brood(particle)
            if data["brood"] is not None:
                assert particle.brood is not None
                particle.brood.load(data["brood"])
        return restored

    @property
    def finished(self) -> bool:
        if self._particles is None or self._ledger.is_owed:
            return False
        return all(each.done for each in self._particles)

    @property
    def best(self) -> tuple[Proposal, Result] | None:
        return self._ledger.best

    @property
    def phase(self) -> str:
        if self._particles is None:
            return "initial candidates"
        steps = [particle.step for particle in self._particles if not particle.done]
        if not steps:
            return "finished"
        if min(steps) == 0:
            return "particles on the main stage"
        return f"particles, step {min(steps)} of {self._config.time_steps}"

    @property
    def progress(self) -> float:
        config = self._config
        count = config.particles if self._particles is None else len(self._particles)
        settled = sum(particle.settled for particle in self._particles or ())
        total = config.initial_candidates + count * (1 + config.time_steps * config.children)
        return (self._initial.closed + settled) / total

    @property
    def proposed(self) -> int:
        return self._ledger.proposed

    @property
    def expected_evaluations(self) -> int:
        config = self._config
        per_child = min(1 + config.spares, config.tries)
        per_particle = 1 + config.time_steps * config.children * per_child
        return config.initial_candidates + config.particles * per_particle

    def _settle(self, proposal: Proposal, result: Result) -> None:
        if self._particles is None:
            self._initial.settle(
                proposal.slot, result, attempt=proposal.attempt, number=proposal.number
            )
            return
        assert proposal.particle is not None
        particle = self._particles[proposal.particle]
        if particle.brood is None:
            particle.fitness = result.fitness
            particle.number = proposal.number
            self._step(particle)
        elif proposal.depth == particle.step:  # else a spare: its particle has moved on without it
            particle.brood.settle(
                proposal.slot, result, attempt=proposal.attempt, number=proposal.number
            )

    def _promoted(self) -> list[_Particle]:
        """Return the fittest candidates of the initial stage, ties by slot, as particles."""
        fittest = sorted(self._initial.scored, key=lambda scored: -scored.fitness)
        return [
            _Particle(index, scored.candidate, scored.number, config=self._config)
            for index, scored in enumerate(fittest[: self._config.particles])
        ]

    def _promotion(self, particle: _Particle) -> Proposal:
        return self._ledger.propose(
            particle.standing.rule,
            stage=Stage.MAIN,
            kind=ProposalKind.PROMOTION,
            particle=particle.index,
            parent=particle.number,
        )

    def _follow(self, particle: _Particle) -> list[Proposal]:
        """Propose what a particle is to score next, moving it on where a step is complete."""
        proposals: list[Proposal] = []
        while not particle.done and particle.brood is not None:
            proposals += self._ledger.propose_brood(
                particle.brood, stage=Stage.MAIN, particle=particle.index, depth=particle.step
            )
            if not particle.brood.complete:
                break
            particle.move()
            self._step(particle)
        return proposals

    def _step(self, particle: _Particle) -> None:
        """Begin a particle's next time step."""
        particle.step += 1
        particle.brood = self._brood(particle)

    def _brood(self, particle: _Particle) -> Brood:
        """Return the children of a particle at its present time step, none of them drawn yet."""

        def draw(slot: int, attempt: int, taken: Container[str]) -> Candidate | None:
            return mutant_candidate(
                particle.standing,
                particle.number,
                space=self._space,
                drawing=self._config.drawing,
                mutation=self._config.mutation,
                taken=taken,
                generator=python_generator(
                    self._seed, "child", particle.index, particle.step, slot, attempt
                ),
            )

        return Brood(
            draw,
            size=self._config.children,
            tried=particle.tried,
            tries=self._config.tries,
            redraw_duplicates=False,
            spares=self._config.spares,
        )

    def _draw_initial(self, slot: int, attempt: int, taken: Container[str]) -> Candidate | None:
        generator = python_generator(self._seed, "initial", slot, attempt)
        return random_candidate(self._space, self._config.drawing, taken=taken, generator=generator)


class _Particle:
    """Where one chain stands, what it tried, and the children it is waiting for."""

    def __init__(
        self, index: int, standing: Candidate, number: int, *, config: ParticleConfig
    ) -> None:
        self.index = index
        self.standing = standing
        self.number = number
        self.fitness: float | None = None
        self.tried = Texts([standing.text])
        self.step = 0
        self.brood: Brood | None = None
        self._config = config

    def state(self) -> Any:
        """Return what it holds as plain data; of one that has ended nothing more is asked."""
        brood = None if self.done or self.brood is None else self.brood.state()
        return {
            "standing": candidate_to_json(self.standing),
            "number": self.number,
            "fitness": self.fitness,
            "tried": "" if self.done else self.tried.to_json(),
            "step": self.step,
            "brood": brood,
        }

    @classmethod
    def restored(cls, index: int, state: Any, config: ParticleConfig) -> _Particle:
        """Return a particle that has come to a state, its brood apart."""
        standing = candidate_from_json(state["standing"])
        particle = cls(index, standing, int(state["number"]), config=config)
        particle.fitness = None if state["fitness"] is None else float(state["fitness"])
        particle.tried = Texts.from_json(state["tried"])
        particle.step = int(state["step"])
        return particle

    @property
    def done(self) -> bool:
        """Whether it made all its time steps."""
        return self.step > self._config.time_steps

    @property
    def settled(self) -> int:
        """How many of its promotion and children are settled."""
        if self.brood is None:
            return 0
        earlier = 1 + (self.step - 1) * self._config.children
        return earlier if self.done else earlier + self.brood.closed

    def move(self) -> None:
        """Go to the best child of a complete brood, where there is one and it is accepted."""
        assert self.brood is not None
        self.tried.add(self.brood.counted)
        best = max(self.brood.scored, key=lambda scored: scored.fitness, default=None)
        if best is None:
            return
        improves = self.fitness is None or best.fitness > self.fitness
        if improves or self._config.accept is Accept.ALWAYS:
            self.standing, self.number, self.fitness = best.candidate, best.number, best.fitness
