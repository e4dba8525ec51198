using HybridArchitectures.Design;
using HybridArchitectures.Modules;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Modules;

/// <summary>Compares differential attention with both softmax distributions as matrices, in float64.</summary>
public class DifferentialAttentionTests
{
    const int Width = 12, Length = 9;

    static readonly DifferentialAttentionSpec spec = new() { Heads = 4, KeyValueHeads = 2, HeadSize = 3, InitialMultiplier = 0.3 };

    // the formula of the paper, head by head
    static Tensor Expected(DifferentialAttention module, Tensor x)
    {
        Tensor Weight(string name) => module.get_parameter(name)!.to(ScalarType.Float64);
        Tensor Project(string name) => x.mm(Weight($"{name}.weight").t());
        var (queries, keys, values) = (Project("query"), Project("key"), Project("value"));
        var multiplier = (Weight("q_vector_1") * Weight("k_vector_1")).sum().exp() - (Weight("q_vector_2") * Weight("k_vector_2")).sum().exp() + 0.3;
        var future = ones(Length, Length).triu(1).to(ScalarType.Bool);
        int size = spec.HeadSize;
        var heads = Enumerable.Range(0, spec.Heads).Select(head =>
        {
            int shared = head / 2;
            Tensor Map(int part) => queries.narrow(1, (2 * head + part) * size, size).mm(keys.narrow(1, (2 * shared + part) * size, size).t())
                .div(Math.Sqrt(size)).masked_fill(future, double.NegativeInfinity).softmax(-1);
            var mixed = (Map(0) - Map(1) * multiplier).mm(values.narrow(1, 2 * shared * size, 2 * size));
            var normed = mixed * (mixed.pow(2).mean([-1], true) + 1e-5).rsqrt() * Weight("norm_weight");
            return normed * (1 - 0.3);
        });
        return cat([.. heads], 1).mm(Weight("output.weight").t());
    }

    [Fact]
    public void It_is_the_difference_of_two_softmax_distributions_with_the_gradients_of_that()
    {
        using var scope = NewDisposeScope();
        using var factory = new ModuleFactory(
            HybridDesign.Create(Width, 20).WithMixer(spec).WithFeedForward(FeedForwardSpec.None).Depth(1).Build(), CPU, seed: 4);
        using var module = new DifferentialAttention(factory, spec);
        MixerFormula.Matches(module, Length, Width, x => Expected(module, x));
    }
}
