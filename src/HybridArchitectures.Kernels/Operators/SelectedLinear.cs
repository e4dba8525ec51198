using HybridArchitectures.Kernels.Cpu;
using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>
/// Computes a linear layer in which each row selects one of several weights, as the tokens of a decoding step select their experts. Only selected
/// weights are read. There is no gradient.
/// </summary>
public static class SelectedLinear
{
    static KernelBackend Backend => OperatorOptions.BackendOf(static options => options.SelectedLinearBackend);

    /// <summary>
    /// Specifies the maximum number of results for which a mixture of experts prefers this operator to <see cref="GroupedLinear"/>. The value is 128.
    /// </summary>
    public const int MaxSelections = 128;

    /// <summary>Returns the back end for rows like <paramref name="x"/>.</summary>
    /// <param name="x">The rows, as in <see cref="Forward"/>.</param>
    /// <param name="weight">The weights, as in <see cref="Forward"/>.</param>
    /// <returns>
    /// Vectorised code for float32 and bfloat16 on the CPU, a kernel for bfloat16 on CUDA if the number of inputs is a multiple of 8, and otherwise
    /// libtorch, which gathers the selected weights first.
    /// </returns>
    public static KernelBackend BackendFor(Tensor x, Tensor weight)
    {
        Require.Alive(x);
        Require.Alive(weight);
        static bool Narrow(ScalarType type) => type is ScalarType.Float32 or ScalarType.BFloat16;
        bool inMemory = x.device_type == TorchSharp.DeviceType.CPU && Narrow(x.dtype) && Narrow(weight.dtype);
        bool onCuda = FewRowsLinearCuda.Takes(x, weight, Backend == KernelBackend.Cuda);
        return Backend switch
        {
            KernelBackend.Auto when onCuda => KernelBackend.Cuda,
            KernelBackend.Auto => inMemory ? KernelBackend.Cpu : KernelBackend.LibTorch,
            KernelBackend.Cuda when onCuda => Backend,
            KernelBackend.Cpu when inMemory => Backend,
            KernelBackend.LibTorch => Backend,
            KernelBackend.Reference => KernelBackend.LibTorch,
            KernelBackend.Cpu or KernelBackend.Cuda => throw Require.Unfit(nameof(x),
                $"the back end of SelectedLinear is {Backend}, but x is {x.dtype} on {x.device} and weight {weight.dtype}",
                "Float32 or BFloat16 in main memory for Cpu, BFloat16 on a CUDA device with inputs a multiple of 8 for Cuda"),
            _ => throw Require.OutOfRange("the back end of SelectedLinear", Backend, "Auto, LibTorch, Cpu or Cuda", "backend"),
        };
    }

    /// <summary>Computes y, where y[r] = weight[index[r]] x[r / k], and k is the number of results per row of x.</summary>
    /// <param name="x">Shape: (rows, inputs), floating point. With bfloat16 input, products are summed in float32.</param>
    /// <param name="weight">Shape: (groups, outputs, inputs), in the type of <paramref name="x"/>, float32 or bfloat16.</param>
    /// <param name="index">
    /// Shape: (results), int64, on the device of <paramref name="x"/>, each from 0 to groups - 1. The number of results is a multiple of rows.
    /// </param>
    /// <returns>Shape: (results, outputs), in the type of <paramref name="x"/>.</returns>
    /// <exception cref="ArgumentException">
    /// A shape, type or device is invalid. The values of <paramref name="index"/> are checked only on the CPU.
    /// </exception>
    public static Tensor Forward(Tensor x, Tensor weight, Tensor index)
    {
        var inputs = new SelectedLinearInputs(x, weight, index);
        inputs.Check(nameof(weight));
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        if (inputs.Results == 0) return zeros([0, weight.size(1)], x.dtype, x.device).MoveToOuterDisposeScope();
        var result = BackendFor(x, weight) switch
        {
            KernelBackend.Cuda => FewRowsLinearCuda.Forward(x, [(weight, null)], index: index, rowsPerInput: inputs.ResultsPerRow)[0],
            KernelBackend.Cpu => OnCpu(inputs),
            _ => Gathered(inputs),
        };
        return result.MoveToOuterDisposeScope();
    }

    /// <summary>Computes silu(gate) * up of two such products, each rounded to the type of <paramref name="x"/> as it would be separately.</summary>
    /// <param name="x">Shape: (rows, inputs), floating point.</param>
    /// <param name="gate">Shape: (groups, outputs, inputs).</param>
    /// <param name="up">Shape: (groups, outputs, inputs), in the type of <paramref name="gate"/>.</param>
    /// <param name="index">Shape: (results), int64.</param>
    /// <returns>Shape: (results, outputs), in the type of <paramref name="x"/>.</returns>
    /// <exception cref="ArgumentException">An argument is invalid, as in <see cref="Forward"/>.</exception>
    public static Tensor ForwardGated(Tensor x, Tensor gate, Tensor up, Tensor index)
    {
        var gateInputs = new SelectedLinearInputs(x, gate, index);
        gateInputs.Check(nameof(gate));
        new SelectedLinearInputs(x, up, index).Check(nameof(up));
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        if (gateInputs.Results > 0 && BackendFor(x, gate) == KernelBackend.Cuda && BackendFor(x, up) == KernelBackend.Cuda)
            return FewRowsLinearCuda.Forward(x, [(gate, null), (up, null)], gated: true, index, gateInputs.ResultsPerRow)[0]
                .MoveToOuterDisposeScope();
        return SwiGlu.Forward(Forward(x, gate, index), Forward(x, up, index)).MoveToOuterDisposeScope();
    }

    static Tensor OnCpu(SelectedLinearInputs inputs)
    {
        var chosen = TensorMemory.ToArray<long>(inputs.Index);
        var results = new Tensor[chosen.Length];
        // one weight after another; rows that select the same weight find it in the cache
        for (int result = 0; result < chosen.Length; result++)
            results[result] = FewRowsLinearCpu.Forward(
                new(inputs.X.narrow(0, result / inputs.ResultsPerRow, 1), inputs.Weight.select(0, chosen[result]), null));
        return cat(results, 0);
    }

    static Tensor Gathered(SelectedLinearInputs inputs)
    {
        var rows = inputs.ResultsPerRow == 1 ? inputs.X : inputs.X.repeat_interleave(inputs.ResultsPerRow, 0);
        return inputs.Weight.index_select(0, inputs.Index).to(inputs.X.dtype).bmm(rows.unsqueeze(-1)).squeeze(-1);
    }
}
