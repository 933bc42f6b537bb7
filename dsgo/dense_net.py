"""A small dense neural network as a scikit-learn regressor: Keras trains it, NumPy answers.

A trained network of this size is a few matrix products. Answering with NumPy spares every dashboard, report and endpoint
the ten seconds and the memory that importing TensorFlow takes, and is faster for one row.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit
from sklearn.base import BaseEstimator, RegressorMixin

BATCHES_A_CALL = 32  # between two returns to Python, which for a network of this size take longer than the arithmetic


class DenseNet(RegressorMixin, BaseEstimator):
    """Mean of `members` networks that differ in their random start, trained side by side in one Keras model.

    Args:
        hidden: units of the hidden layers, with swish between (z times its logistic function, smooth as the weather's effect).
        members: networks in the mean.
        epochs, batch_size, learning_rate: of Adam with a cosine decay to zero.
        weight_decay: share of each kernel's weight that a step takes away, times the learning rate (AdamW).
        seed: of weights and of the order of batches: equal seeds give equal networks.
    """

    def __init__(
        self,
        hidden: tuple[int, ...] = (32, 32),
        members: int = 3,
        epochs: int = 25,
        batch_size: int = 256,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.5,
        seed: int = 0,
    ) -> None:
        self.hidden = hidden
        self.members = members
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.seed = seed

    def fit(self, X: np.ndarray, y: np.ndarray) -> DenseNet:
        """Train on X (n, features) and y (n, targets), both of a scale near 1."""
        import keras

        keras.utils.set_random_seed(self.seed)
        X, y = np.asarray(X, dtype="float32"), np.asarray(y, dtype="float32")
        y = y.reshape(len(y), -1)
        entry = keras.Input((X.shape[1],))
        outputs = []
        for _ in range(self.members):
            layer = entry
            for units in self.hidden:
                layer = keras.layers.Dense(units, activation="swish")(layer)
            outputs.append(keras.layers.Dense(y.shape[1])(layer))
        network = keras.Model(entry, outputs)
        steps = max(1, -(-len(X) // self.batch_size) * self.epochs)
        decay = keras.optimizers.schedules.CosineDecay(self.learning_rate, steps)
        optimizer = keras.optimizers.AdamW(decay, weight_decay=self.weight_decay)
        optimizer.exclude_from_weight_decay(var_names=["bias"])
        network.compile(
            optimizer,
            loss=["mse"] * self.members,
            steps_per_execution=BATCHES_A_CALL,
        )
        network.fit(X, [y] * self.members, epochs=self.epochs, batch_size=self.batch_size, verbose=0)
        self.weights_ = [self._weights_of(output) for output in outputs]
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Mean of the members' answers, shape (n, targets)."""
        X = np.asarray(X, dtype="float32")
        total = 0.0
        for layers in self.weights_:
            values = X
            for kernel, bias in layers[:-1]:
                values = values @ kernel + bias
                values = values * expit(values)
            kernel, bias = layers[-1]
            total = total + (values @ kernel + bias)
        return np.asarray(total / len(self.weights_), dtype=float)

    def _weights_of(self, output) -> list[tuple[np.ndarray, np.ndarray]]:
        """Kernels and biases of the layers that lead to one output tensor, the first layer first."""
        layers = []
        for _ in range(len(self.hidden) + 1):
            layer = output._keras_history.operation
            layers.insert(0, tuple(np.array(weight) for weight in layer.get_weights()))
            output = layer.input
        return layers
