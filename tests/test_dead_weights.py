"""No result and no weight file rests on a network with weights that no image of its sizes can reach (notebook 2)."""
import pytest
import torch

import comparisons
import experiment
import googlenet_utils as gu
import networks
from dead_weights import count_dead_weights


def sizes_with_dead_weights(net, sizes):
    return [size for size in sorted(set(sizes)) if count_dead_weights(net, size)]


def test_the_count_sees_a_dead_weight_in_a_convolution_and_in_a_linear_layer():
    torch.manual_seed(0)
    small = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1, bias=False))
    assert [count_dead_weights(small, size) for size in (1, 2)] == [4 * 3 * 8, 0]
    fed_by_nothing = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1, padding=1, bias=False), torch.nn.Flatten(),
                                         torch.nn.Linear(4 * 9, 2, bias=False))
    assert count_dead_weights(fed_by_nothing, 1) == 2 * 4 * 8


def test_no_result_file_escapes_this_guard():
    measured = {path.stem for path in experiment.RESULTS.glob("*.json")}
    without_training = {"path_ablation", "scaling", "training_speed"}
    assert measured - set(comparisons.TABLES) - without_training == {"article_recipe"}  # notebook 3's lesson


@pytest.mark.parametrize("table", comparisons.TABLES)
def test_every_weight_of_a_measured_network_can_learn_at_each_of_its_sizes(table):
    measured = {str(row["settings"]["network"]): row for row in experiment.stored_rows(table)}
    for row in measured.values():
        network = row["settings"]["network"]
        if table == "recipe_steps" and not network.get("small_images"):
            continue                            # the steps before the stem changes, which is one of the lessons
        net = networks.build(network, row["image_sizes"][-1])
        assert sizes_with_dead_weights(net, row["image_sizes"]) == [], (table, row.get("change", row.get("profile")))


def test_every_shipped_weight_could_learn_at_each_size_that_it_was_trained_at():
    net, card = gu.load_trained()
    assert sizes_with_dead_weights(net, card["image_sizes"]) == []
