"""Some outputs of a layer with a learning rate of their own."""

import copy

import torch
from torch import nn

from deca_cli.train.output_rates import OutputRates

FACTORS = torch.tensor([1.0, 20.0, 0.5])


def moved(layer, optimizer, inputs):
    before = copy.deepcopy(layer)
    optimizer.zero_grad()
    layer(inputs).square().sum().backward()
    optimizer.step()
    return layer.weight - before.weight, layer.bias - before.bias


def test_each_output_moves_by_its_factor_of_the_usual_step():
    inputs = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    plain = nn.Linear(5, 3)
    quick = copy.deepcopy(plain)
    adam, tuned = (torch.optim.Adam(layer.parameters(), 1e-3) for layer in (plain, quick))
    OutputRates(tuned, quick, FACTORS)
    (usual, usual_bias), (weight, bias) = moved(plain, adam, inputs), moved(quick, tuned, inputs)
    torch.testing.assert_close(weight, usual * FACTORS[:, None], rtol=1e-3, atol=1e-7)
    torch.testing.assert_close(bias, usual_bias * FACTORS, rtol=1e-3, atol=1e-7)


def test_outputs_with_factor_one_move_bit_for_bit_as_without():
    inputs = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    plain = nn.Linear(5, 3)
    quick = copy.deepcopy(plain)
    adam, tuned = (torch.optim.Adam(layer.parameters(), 1e-3) for layer in (plain, quick))
    OutputRates(tuned, quick, FACTORS)
    for _ in range(3):
        moved(plain, adam, inputs)
        moved(quick, tuned, inputs)
    assert torch.equal(plain.weight[0], quick.weight[0])
    assert not torch.equal(plain.weight[1], quick.weight[1])
