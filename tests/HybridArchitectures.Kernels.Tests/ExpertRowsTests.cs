using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Kernels.Tests.Cuda;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests;

public class ExpertRowsTests
{
    const int Tokens = 7;

    public static TheoryData<int, int> Sizes => new() { { 1, 5 }, { 2, 5 }, { 3, 5 }, { 1, 16 }, { 2, 264 }, { 3, 1000 } };

    [Theory, MemberData(nameof(Sizes))]
    public void Visits_are_sorted_and_summed_and_so_are_gradients(int choices, int width)
    {
        using var scope = NewDisposeScope();
        var (rows, source) = Order(choices, CPU);
        // x y z of every visit, so that both directions have gradients
        OperatorCheck.MatchesReference(
            given => rows.Combine(rows.Spread(given[0]!) * given[1]!),
            given => zeros(Tokens, width, ScalarType.Float64).index_add(0, source, given[0]!.index_select(0, source) * given[1]!, 1),
            [OperatorCheck.Normal(Tokens, width), OperatorCheck.Normal(Tokens * choices, width)]);
    }

    [Theory, MemberData(nameof(Sizes))]
    public void They_have_weights(int choices, int width)
    {
        using var scope = NewDisposeScope();
        WeightsMatch(choices, width, CPU);
    }

    [Theory, MemberData(nameof(Sizes))]
    public void They_have_weights_under_emulation(int choices, int width)
    {
        using var scope = NewDisposeScope();
        CudaEmulation.BothOrders(() => WeightsMatch(choices, width, CPU));
    }

    [Theory, MemberData(nameof(Sizes)), Trait("device", "cuda")]
    public void They_have_weights_on_a_GPU(int choices, int width)
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        WeightsMatch(choices, width, Gpu.Device);
    }

    [Fact]
    public void Gradients_that_nothing_needs_are_not_computed()
    {
        using var scope = NewDisposeScope();
        CudaEmulation.BothOrders(() =>
        {
            using var inner = NewDisposeScope();
            var (rows, _) = Order(2, CPU);
            Tensor tokens = randn(Tokens, 16), weights = randn(Tokens, 2).requires_grad_();
            Assert.True(ExpertRowsCuda.Serves(tokens, weights));
            Autograd.Backward(rows.Combine(rows.Spread(tokens, weights), weights.detach()).sum());
            Assert.NotNull(weights.grad);
            Assert.Null(tokens.grad);
        });
    }

    static void WeightsMatch(int choices, int width, Device device)
    {
        using var scope = NewDisposeScope();
        var (rows, source) = Order(choices, device);
        Tensor Own(IReadOnlyList<Tensor?> given) => rows.Combine(rows.Spread(given[0]!, given[1]!) * given[2]!, given[3]!);
        Tensor Composed(IReadOnlyList<Tensor?> given)
        {
            Tensor OfVisits(Tensor weights) => weights.flatten().index_select(0, rows.Order).unsqueeze(-1);
            var visits = given[0]!.index_select(0, source) * OfVisits(given[1]!) * given[2]! * OfVisits(given[3]!);
            return zeros([Tokens, width], visits.dtype, device).index_add(0, source, visits, 1);
        }
        Tensor[] inputs = [OperatorCheck.Normal(Tokens, width).to(device), OperatorCheck.Normal(Tokens, choices).to(device),
            OperatorCheck.Normal(Tokens * choices, width).to(device), OperatorCheck.Normal(Tokens, choices).to(device)];
        OperatorCheck.MatchesReference(Own, Composed, inputs);
        OperatorCheck.BFloat16IsAsGoodAsComposed(Own, Composed, Composed, inputs);
    }

    // visits in an order that no experts would make
    static (ExpertRows Rows, Tensor Source) Order(int choices, Device device)
    {
        using var random = manual_seed(1);
        var order = randperm(Tokens * choices, ScalarType.Int64).to(device);
        var source = order.div(Scalars.From(choices), RoundingMode.floor).to(ScalarType.Int64);
        return (new ExpertRows(order, order.argsort(), source, choices), source);
    }
}
