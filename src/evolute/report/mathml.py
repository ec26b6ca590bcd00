r"""MathML of rules: typeset by the browser itself, so that a page needs no library for it.

The LaTeX of :mod:`evolute.lang.latex` is turned into MathML, so that the tables of operands and
functions stay the one place that says how an operation is printed. It reads the LaTeX that the
tables use: commands, groups, scripts, ``\frac``, ``\sqrt``, accents, ``\mathrm`` and ``\left`` …
``\right``. A command it does not know is shown as it is written.
"""

from __future__ import annotations

import html
import re

from evolute.lang.latex import rule_to_latex
from evolute.lang.rule import Rule


def _table(text: str) -> dict[str, str]:
    """Read pairs of a command and its character."""
    return dict(pair.split() for pair in text.split(","))


_SYMBOLS = _table(
    "cdot ⋅, times ×, leq ≤, geq ≥, le ≤, ge ≥, pm ±, in ∈, to →, infty ∞, sum ∑, prod ∏, "
    "partial ∂, odot ⊙, circ ∘, Vert ‖"
)
_LETTERS = _table(
    "alpha α, beta β, gamma γ, delta δ, epsilon ϵ, zeta ζ, eta η, theta θ, lambda λ, mu μ, nu ν, "
    "pi π, rho ρ, sigma σ, tau τ, phi φ, omega ω, Delta Δ, Sigma Σ, Phi Φ, Omega Ω, nabla ∇"
)
_NAMES = ("ln", "log", "exp", "max", "min", "sin", "cos", "tan", "tanh", "arctan", "sinh", "cosh")
_ACCENTS = {"hat": "^", "bar": "¯", "overline": "¯", "tilde": "~", "dot": "˙", "vec": "→"}
_UPRIGHT = ("mathrm", "operatorname", "text", "mathit", "mathbf")
_SPACES = {",": "0.17em", ";": "0.28em", ":": "0.22em", "quad": "1em", " ": "0.28em", "!": "0"}
_OWN_LINES = ("u_t", r"\eta_t")
_TALL = ("<mfrac", "<msqrt")
_TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|\d+(?:\.\d+)?|\s+|.", re.DOTALL)


def rule_to_mathml(rule: Rule) -> str:
    """Return the update equations of a rule as MathML blocks, one for each line.

    Examples
    --------
    >>> print(rule_to_mathml(Rule.parse("none: g"))[:75])
    <math display="block"><msub><mi>u</mi><mi>t</mi></msub><mo>=</mo><mi>g</mi>
    """
    return "\n".join(_block(line) for line in rule_to_latex(rule).splitlines())


def schedule_to_mathml(rule: Rule) -> str:
    """Return the schedule of a rule alone, as a MathML block; nothing for a rule without one."""
    lines = rule_to_latex(rule).splitlines()
    return "\n".join(_block(line) for line in lines if line.startswith(r"\eta_t"))


def update_to_mathml(rule: Rule) -> str:
    """Return the update and the schedule of a rule alone, as MathML blocks.

    Examples
    --------
    >>> update_to_mathml(Rule.parse("nesterov: [a3]*g")).count("<math")
    2
    """
    lines = rule_to_latex(rule).splitlines()
    return "\n".join(_block(line) for line in lines if line.startswith(_OWN_LINES))


def latex_to_mathml(latex: str) -> str:
    r"""Return one formula as a MathML block.

    Examples
    --------
    >>> latex_to_mathml(r"\frac{g^2}{2}")
    '<math display="block"><mfrac><msup><mi>g</mi><mn>2</mn></msup><mn>2</mn></mfrac></math>'
    """
    reader = _Reader(_TOKEN.findall(latex))
    parts = []
    while reader.more:
        parts += reader.row(until=None)
        reader.skip()  # a bracket that closes nothing
    return f'<math display="block">{"".join(parts)}</math>'


def _block(latex: str) -> str:
    """Return one formula; none for one that is nested deeper than Python recurses."""
    try:
        return latex_to_mathml(latex)
    except RecursionError:
        return ""


class _Reader:
    """Reads tokens from the left and writes MathML elements."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = [token for token in tokens if not token.isspace()]
        self._at = 0

    @property
    def more(self) -> bool:
        return self._at < len(self._tokens)

    def skip(self) -> None:
        self._at += 1

    def row(self, *, until: str | None) -> list[str]:
        """Read elements up to a closing token, which is left; scripts join what they follow."""
        elements: list[str] = []
        while self.more and self._peek() not in (until, "}", r"\right"):
            if self._peek() in ("^", "_", "'"):
                base = elements.pop() if elements else "<mrow></mrow>"
                elements.append(self._scripts(base))
            elif self._peek() == "-" and not elements:
                elements.append(self._negated())
            else:
                elements.append(self._element())
        return elements

    def _negated(self) -> str:
        """Read a minus with nothing before it: a sign, which stands close to what follows."""
        self.skip()
        if self._peek()[:1].isdigit():
            return f"<mn>−{self._take()}</mn>"
        return '<mo form="prefix">−</mo>'

    def _peek(self) -> str:
        return self._tokens[self._at] if self.more else ""

    def _take(self) -> str:
        token = self._peek()
        self.skip()
        return token

    def _scripts(self, base: str) -> str:
        """Read all scripts of one base, in whatever order they stand."""
        below, above, primes = "", "", ""
        while self._peek() in ("^", "_", "'"):
            match self._take():
                case "_":
                    below = self._argument()
                case "^":
                    above = self._argument()
                case _:
                    primes += "′"
        if primes:  # on the line: raised, fonts without a table of mathematics lose it in the air
            base = f'<mrow>{base}<mo lspace="0" rspace="0">{primes}</mo></mrow>'
        if below and above:
            return f"<msubsup>{base}{below}{above}</msubsup>"
        if below:
            return f"<msub>{base}{below}</msub>"
        return f"<msup>{base}{above}</msup>" if above else base

    def _argument(self) -> str:
        """Read one group or token as one element."""
        if self._peek() != "{":
            return self._element() if self.more else "<mrow></mrow>"
        self.skip()
        parts = self.row(until="}")
        self.skip()
        return parts[0] if len(parts) == 1 else f"<mrow>{''.join(parts)}</mrow>"

    def _element(self) -> str:
        token = self._take()
        if token == "{":
            self._at -= 1
            return self._argument()
        if token.startswith("\\") and len(token) > 1:
            return self._command(token[1:])
        if token[0].isdigit():
            return f"<mn>{token}</mn>"
        if token.isalpha():
            return f"<mi>{html.escape(token)}</mi>"
        if token in "|()[]":
            return _fence(token)
        return f"<mo>{html.escape('−' if token == '-' else token)}</mo>"

    def _command(self, name: str) -> str:
        if name in _LETTERS:
            return f"<mi>{_LETTERS[name]}</mi>"
        if name in _SYMBOLS:
            return f"<mo>{_SYMBOLS[name]}</mo>"
        if name in _NAMES:
            return f"<mi>{name}</mi>"
        if name in _SPACES:
            return f'<mspace width="{_SPACES[name]}"></mspace>'
        if name in _ACCENTS:
            return f'<mover accent="true">{self._argument()}<mo>{_ACCENTS[name]}</mo></mover>'
        match name:
            case "frac":
                return f"<mfrac>{self._argument()}{self._argument()}</mfrac>"
            case "sqrt":
                return f"<msqrt>{self._argument()}</msqrt>"
            case "left":
                return self._fenced()
            case _ if name in _UPRIGHT:
                return f'<mi mathvariant="normal">{html.escape(self._plain_text())}</mi>'
            case _:
                return f"<mtext>{html.escape(name if len(name) == 1 else chr(92) + name)}</mtext>"

    def _fenced(self) -> str:
        r"""Read from after ``\left`` to its ``\right`` and the bracket behind that."""
        opening = self._delimiter()
        inside = "".join(self.row(until=None))
        closing = ""
        if self._peek() == r"\right":
            self.skip()
            closing = self._delimiter()
        # Without a font made for mathematics, browsers stretch brackets far beyond low contents.
        stretchy = any(tall in inside for tall in _TALL)
        fences = [_fence(token, stretchy=stretchy) if token else "" for token in (opening, closing)]
        return f"<mrow>{fences[0]}{inside}{fences[1]}</mrow>"

    def _delimiter(self) -> str:
        token = self._take()
        if token.startswith("\\"):
            token = {"Vert": "‖", "|": "‖"}.get(token[1:], token[1:])
        return "" if token == "." else token

    def _plain_text(self) -> str:
        if self._peek() != "{":
            return self._take()
        self.skip()
        text = ""
        while self.more and self._peek() != "}":
            text += self._take()
        self.skip()
        return text


def _fence(token: str, *, stretchy: bool = False) -> str:
    return f'<mo fence="true" stretchy="{str(stretchy).lower()}">{html.escape(token)}</mo>'
