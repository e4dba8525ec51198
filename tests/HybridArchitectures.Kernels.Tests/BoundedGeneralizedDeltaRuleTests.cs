using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests;

/// <summary>Compares the generalized delta rule with a minimum of the decays, whose products need no table, with the recurrence.</summary>
public class BoundedGeneralizedDeltaRuleTests : RecurrentOperatorTests
{
    const double MinDecay = -0.6065306597;

    static readonly GeneralizedDeltaRuleOperator op = new(MinDecay);

    protected override RecurrentOperator Operator => op;

    [Theory]
    [InlineData(16), InlineData(64)]
    public void Decays_at_the_minimum_and_full_removal_match_the_recurrence(int chunk)
    {
        using var scope = NewDisposeScope();
        var inputs = op.Inputs(1, 150);
        inputs["decay"] = full_like(inputs["decay"], MinDecay);
        inputs["rate"] = ones_like(inputs["rate"]);
        Check(inputs, null, chunk);
    }

    [Fact]
    public void Chunks_too_long_for_the_minimum_use_a_table()
    {
        using var scope = NewDisposeScope();
        var i = op.Inputs(1, 256);
        i["decay"] = full_like(i["decay"], -3.0);
        Tensor Output(double? minimum) => GeneralizedDeltaRule.Forward(
            i["query"], i["key"], i["value"], i["decay"], i["removal"], i["rate"], chunkSize: 128, minDecay: minimum).Output;
        Assert.True(Output(-3).equal(Output(null)).all().item<bool>());
    }

    [Fact]
    public void Training_needs_less_memory_than_with_a_table()
    {
        using var scope = NewDisposeScope();
        // large against what else the process allocates meanwhile
        var i = op.Inputs(4, 2048, variant: 2);
        long Peak(double? minimum) => PeakMemory.Growth(() =>
        {
            using var inner = NewDisposeScope();
            var inputs = op.Leaves(i, ScalarType.Float32);
            Autograd.Backward(GeneralizedDeltaRule.Forward(inputs["query"], inputs["key"], inputs["value"], inputs["decay"], inputs["removal"],
                inputs["rate"], minDecay: minimum).Output.sum());
        });
        var (table, factors) = (Peak(null), Peak(MinDecay));
        Assert.True(factors < table / 2, $"{factors} bytes with factors, {table} with a table");
    }
}
