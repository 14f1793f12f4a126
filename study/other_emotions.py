"""Which clip gets the words of which: every text once, none with a clip of its own emotion."""

import numpy as np

ROUNDS = 20  # random exchanges for each text


def other_emotions(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random permutation that gives each place another label: (n,), class names, to positions (n,).

    A rotation of the places in the order of their labels has this property where no label has more than half of them;
    random exchanges that keep it follow.
    """
    order = np.lexsort((rng.random(len(labels)), labels))
    most = max(np.unique(labels, return_counts=True)[1])
    chosen = np.empty(len(labels), int)
    chosen[order] = np.roll(order, -most)
    for first, second in rng.integers(len(labels), size=(ROUNDS * len(labels), 2)):
        if labels[chosen[second]] != labels[first] and labels[chosen[first]] != labels[second]:
            chosen[[first, second]] = chosen[[second, first]]
    return chosen
