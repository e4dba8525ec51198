using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>
/// Contains the inputs of products whose rows select one of several weights, with the shapes of <see cref="Operators.SelectedLinear.Forward"/>.
/// </summary>
sealed record SelectedLinearInputs(Tensor X, Tensor Weight, Tensor Index)
{
    public long Results => Index.size(0);

    /// <summary>Gets the number of results per row of x.</summary>
    public int ResultsPerRow => X.size(0) == 0 ? 1 : (int)(Results / X.size(0));

    /// <summary>Checks the inputs. Exceptions name the argument; <paramref name="weightName"/> is that of the weight.</summary>
    public void Check(string weightName)
    {
        Checks.Floating(X, "x");
        if (X.dim() != 2 || X.size(1) == 0) throw Require.Refusal("x", X.shape, "(rows, inputs), inputs at least 1");
        Require.Alive(Weight, weightName);
        Checks.Shape(Weight, [-1, -1, X.size(1)], "(groups, outputs, inputs), inputs as in x", weightName);
        if (Weight.dtype != X.dtype && Weight.dtype is not (ScalarType.Float32 or ScalarType.BFloat16))
            throw Require.Refusal(weightName, Weight.dtype, $"Float32, BFloat16 or {X.dtype}, the type of x");
        Checks.SameDevice(Weight, X, "x", weightName);
        Checks.Shape(Index, [-1], "one group per result", "index");
        Checks.Type(Index, ScalarType.Int64, "index");
        Checks.SameDevice(Index, X, "x", "index");
        if (X.size(0) == 0 ? Results > 0 : Results % X.size(0) != 0)
            throw Require.Unfit("index", $"index has {Results} numbers", $"a multiple of the {X.size(0)} rows of x");
        CheckValues(weightName);
    }

    void CheckValues(string weightName)
    {
        // on CUDA, reading them would stall the device
        if (Index.device_type != TorchSharp.DeviceType.CPU || Results == 0) return;
        using var scope = NewDisposeScope();
        long minimum = Index.min().item<long>(), maximum = Index.max().item<long>();
        if (minimum < 0 || maximum >= Weight.size(0))
            throw Require.Unfit("index", $"index holds {(minimum < 0 ? minimum : maximum)}",
                $"0 to {Weight.size(0) - 1}, the groups of {weightName}");
    }
}
