using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>
/// Contains the inputs of grouped products, with the shapes of <see cref="Operators.GroupedLinear.Forward"/>. They are also saved for the gradient.
/// </summary>
sealed record GroupedLinearInputs(Tensor X, Tensor Weight, Tensor Ends) : ISavedTensors<GroupedLinearInputs>
{
    public GroupedLinearInputs Map(Func<Tensor?, Tensor?> replace) => new(replace(X)!, replace(Weight)!, replace(Ends)!);

    /// <summary>Checks the inputs. Exceptions name the argument.</summary>
    public void Check()
    {
        Checks.Floating(X, "x");
        if (X.dim() != 2) throw Require.Refusal("x", X.shape, "(rows, inputs)");
        Require.Alive(Weight, "weight");
        if (Weight.dim() != 3 || Weight.size(0) == 0 || Weight.size(2) != X.size(1))
            throw Require.Refusal("weight", Weight.shape, $"(groups, outputs, {X.size(1)})");
        Checks.ParameterType(Weight, X, "x", "weight");
        Checks.SameDevice(Weight, X, "x", "weight");
        Checks.Shape(Ends, [Weight.size(0)], "(groups)", "ends");
        Checks.Type(Ends, ScalarType.Int32, "ends");
        Checks.SameDevice(Ends, X, "x", "ends");
        CheckEnds(X.size(0));
    }

    void CheckEnds(long rows)
    {
        // on CUDA, reading them would stall the device
        if (Ends.device_type != TorchSharp.DeviceType.CPU) return;
        var values = TensorMemory.ToArray<int>(Ends);
        for (int i = 0; i < values.Length; i++)
        {
            int minimum = i == 0 ? 0 : values[i - 1];
            if (values[i] < minimum || values[i] > rows) throw Require.Unfit("ends", $"ends[{i}] is {values[i]}", $"{minimum} to {rows}");
        }
        if (values[^1] != rows) throw Require.Unfit("ends", $"the last of ends is {values[^1]}", $"the number of rows, {rows}");
    }
}
