"""What a run leaves in the end: its result, untested and tested, its model card, and what is foreign to its weights."""

from dataclasses import replace

from lrnet_cli.devices import describe_device
from lrnet_cli.documents import JsonObject
from lrnet_cli.errors import InterruptedRunError
from lrnet_cli.escape import resuming
from lrnet_cli.evaluation.evaluate import Evaluation, evaluate, recorded
from lrnet_cli.evaluation.predictions import write_predictions
from lrnet_cli.models.registry import summary_of
from lrnet_cli.paths import WEIGHTS_NAME
from lrnet_cli.runs.folder import (
    Status,
    note_newest,
    read_result,
    write_config,
    write_curves,
    write_result,
    write_skipped,
)
from lrnet_cli.runs.model_card import write_model_card
from lrnet_cli.runs.suspects import predictions_of
from lrnet_cli.settings.units import as_text
from lrnet_cli.training.certainty import note_fold, with_novelty
from lrnet_cli.training.keep import Keep
from lrnet_cli.weights.file import load_weights, save_weights


class Results:
    """Writes the files that say what a run is and what became of it; of several processes only the first one writes."""

    def __init__(self, keep: Keep) -> None:
        self._keep, self._run = keep, keep.run
        run = self._run
        before = read_result(run.folder)
        self._test_reads: int = (before or {}).get("test_reads", 0)
        self._device = describe_device(run.engine.device)
        if run.processes.is_first:  # a run that is killed from here on can be resumed
            write_config(
                run.folder,
                run.config,
                device=self._device,
                precision=run.engine.precision,
                processes=run.processes.count,
            )
            if run.skipped:
                write_skipped(run.folder, run.skipped)

    def untested(self, status: Status) -> JsonObject:
        """Complete the folder with the result of a run that was not tested, and return it.

        Raises ``InterruptedRunError`` if there are no weights yet.
        """
        run, state = self._run, self._run.state
        kept = self._keep.kept
        if kept is None:
            raise InterruptedRunError(
                "Stopped before the first epoch ended, so there are no weights yet; resume with: "
                + resuming(run.folder)
            )
        costs = summary_of(run.card.arch, **run.card.arch_args)
        result: JsonObject = {
            "schema": "lrnet.train/1",
            "run_dir": str(run.folder),
            "weights": str(run.folder / WEIGHTS_NAME),
            "arch": run.config.arch,
            "dataset": run.card.dataset["name"],
            "epochs": state.rows[-1].epoch,
            "best_epoch": kept.epoch,
            "val_accuracy": kept.val_accuracy,
            "test_images": len(run.test_split),
            **recorded(None),
            "test_images_per_second": None,
            "train_images_per_second": state.steps_taken * run.batch_size / max(state.seconds, 1e-9),
            "seconds": self._keep.clock.elapsed,
            "seed": run.card.seed,
            "device": self._device,
            "precision": run.engine.precision,
            "compiled": bool(state.compiled),
            "threads": as_text(state.threads) or None,
            "processes": run.processes.count,
            "parameters": costs.parameters,
            "multiply_adds": costs.multiply_adds,
            "test_reads": self._test_reads,
            "skipped": run.card.dataset.get("skipped", 0),
            "left_out": run.card.dataset.get("left_out", {}),
            "unlabelled": self._keep.card(kept.epoch).dataset.get("unlabelled"),
            "status": status,
        }
        if status != "interrupted":
            self._learn_novelty()
        if run.processes.is_first:
            write_curves(run.folder, state.rows)
        self._complete(result, None)
        return result

    def _learn_novelty(self) -> None:
        """Add the novelty detector to the weights that were kept."""
        run, path = self._run, self._run.folder / WEIGHTS_NAME
        run.processes.wait()  # until the first one has written the weights
        model, card = load_weights(path)
        card = with_novelty(card, model, self._keep.step)
        if run.config.robust == "auto" and run.config.augment:
            run.reporter.message(
                f"Robust: epoch {card.metrics['best_epoch']} is kept, right on {card.metrics['val_accuracy']:.3f} of "
                f"the validation images and on {card.metrics['val_altered_accuracy']:.3f} of augmented ones; of those "
                f"as they are, no epoch got more than {max(row.val_accuracy for row in run.state.rows):.3f} right."
            )
        if run.processes.is_first:
            save_weights(path, model, card)

    def tested(self, result: JsonObject) -> JsonObject:
        """Read the test images, once, with the weights that were kept, and add the results to the folder."""
        run = self._run
        run.reporter.message(
            f"Reading the {len(run.test_split)} test images, once, with the weights of epoch {result['best_epoch']}."
        )
        run.processes.wait()  # until the first one has written the weights
        model, card = load_weights(run.folder / WEIGHTS_NAME)
        is_fold = run.config.test_fold is not None  # whose novelty counts in a promise
        network = run.engine.place(model, card.preprocessing.normalize, with_description=is_fold).eval()
        test = evaluate(network, run.test_split.to(run.engine.device), card, run.processes)
        result |= recorded(test) | {
            "test_images_per_second": test.images_per_second,
            "seconds": self._keep.clock.elapsed,
            "test_reads": self._test_reads + 1,
            "status": "finished",
        }
        if is_fold and run.processes.is_first:
            write_predictions(predictions_of(run.folder), test, every_class=True)
            note_fold(run.folder, card, test, run.test_split)
        self._complete(result, test)
        return result

    def _complete(self, result: JsonObject, test: Evaluation | None) -> None:
        """Write the card and the result, and note the run as the user's newest."""
        run, path = self._run, self._run.folder / WEIGHTS_NAME
        if not run.processes.is_first:
            return
        model, card = load_weights(path)
        if test is not None:
            card = replace(card, metrics=card.metrics | recorded(test))
            save_weights(path, model, card)
        write_model_card(run.folder, run.config, card, result, test)
        write_result(run.folder, result)
        if run.config.test_fold is not None:
            return  # the folds count together, as their series
        note_newest(run.folder, run.reporter)
