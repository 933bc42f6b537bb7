"""Train a small Keras neural network on a dataset: the mean of a few networks that differ in their random start.

Reads: a dataset (`runs:/<id>/dataset`), and the settings that a tune run has found, if any.
Writes: one run with back-test and window scores, the predictions behind them, Keras's own parameters and loss of each
    epoch (autolog, of the last fit), the evaluated `twin`, and the `model` refitted on everything.
Fails when: the dataset is damaged or too short to be scored, or a setting cannot be used.
"""

from __future__ import annotations

import mlflow.keras

from dsgo.command import main
from dsgo.dense_net import DenseNet
from dsgo.training import Training, train

SPACE = {
    "units": {"default": 64, "choices": [32, 64, 128]},  # of the first hidden layer; the second has half of them
    "members": {"default": 3, "low": 1, "high": 5},  # networks in the mean
    "passes": {"default": 25, "low": 10, "high": 50},  # over the rows
    "rows_a_step": {"default": 256, "choices": [128, 256, 512]},
    "first_rate": {"default": 2e-3, "low": 5e-4, "high": 1e-2, "log": True},  # of learning; it falls to zero
    "weight_decay": {"default": 0.5, "low": 0.01, "high": 2.0, "log": True},
}


class KerasTraining(Training):
    """Autologs the fit on the whole dataset; five fits into one run would mix their curves."""

    def fit(self, regressor, table):
        """A forecaster around this network, trained on `table`."""
        last = len(table) == len(self.table)
        mlflow.keras.autolog(disable=not last, log_models=False, log_datasets=False, silent=True)
        return super().fit(regressor, table)


def regressor(settings, seed):
    """Networks of two hidden layers."""
    return DenseNet(
        (settings["units"], settings["units"] // 2),
        members=settings["members"],
        epochs=settings["passes"],  # Keras's autolog takes the names epochs, batch_size and learning_rate for itself
        batch_size=settings["rows_a_step"],
        learning_rate=settings["first_rate"],
        weight_decay=settings["weight_decay"],
        seed=seed,
    )


if __name__ == "__main__":
    main(lambda: train(__doc__.splitlines()[0], "keras_mlp", SPACE, regressor, KerasTraining))
