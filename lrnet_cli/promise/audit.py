"""What a random sample of a stack, checked by a person, says of all of it: exact, since drawn without replacement."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Audited:
    """Of ``stack`` accepted labels ``checked`` were drawn at random and checked; ``wrong`` of those are wrong.

    ``low`` and ``high`` bound the error rate of the whole stack with the ``confidence``.
    """

    stack: int
    checked: int
    wrong: int
    confidence: float
    low: float
    high: float

    def contradicts(self, max_error: float) -> bool:
        """Return whether even the lowest error rate of the interval is above ``max_error``."""
        return self.low > max_error


def audited(stack: int, checked: int, wrong: int, confidence: float) -> Audited:
    """Return the exact interval of the error rate, by the tails of the hypergeometric distribution.

    Wright 1991, "Exact confidence bounds when sampling from small finite universes".
    """
    from scipy.stats import hypergeom

    possible = np.arange(wrong, stack - (checked - wrong) + 1)  # how many labels of the stack may be wrong
    tail = (1 - confidence) / 2
    is_low = hypergeom.sf(wrong - 1, stack, possible, checked) > tail
    is_high = hypergeom.cdf(wrong, stack, possible, checked) > tail
    low, high = possible[is_low][0], possible[is_high][-1]
    return Audited(stack, checked, wrong, confidence, float(low / stack), float(high / stack))
