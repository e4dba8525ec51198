using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Optimization;

/// <summary>
/// Contains parameters with the same weight decay, and updates them by AdamW in few launches: with a kernel of this library on a GPU, which also
/// writes the weights in bfloat16 for the next step, and otherwise in libtorch's fused form.
/// </summary>
sealed class AdamGroup(AdamWOptions options, double decay)
{
    readonly List<(OptimizedParameter Parameter, Tensor First, Tensor Second)> items = [];

    /// <summary>Adds a parameter with its running means of the gradient and of the squared gradient.</summary>
    public void Add(OptimizedParameter parameter, Tensor first, Tensor second) => items.Add((parameter, first, second));

    /// <summary>Updates the parameters that have a gradient.</summary>
    public void Update(OptimizerStep step)
    {
        var present = items.FindAll(item => step.Gradients.ContainsKey(item.Parameter.Name));
        if (present.Count == 0) return;
        if (step.RateOnDevice is { } rate)
        {
            var all = present.ConvertAll(item => new AdamWTensors(item.Parameter.Value, step.Gradients[item.Parameter.Name], item.First, item.Second,
                step.WritesCopies ? WeightCopies.Target(item.Parameter.Value) : null));
            if (all.TrueForAll(AdamWCuda.Serves))
            {
                AdamWCuda.Update(all, new(rate, step.Steps, step.Failed, step.Divisor, options.Beta1, options.Beta2, options.Epsilon, decay));
                step.Copied.AddRange(all.Where(item => item.Copy is not null).Select(item => item.Value));
                return;
            }
        }
        // libtorch's form needs gradients in the type of the parameters
        foreach (var type in present.ToLookup(item => step.Gradients[item.Parameter.Name].dtype == item.Parameter.Value.dtype))
        {
            if (type.Key) UpdateByLibtorch([.. type], step);
            else
                foreach (var one in type) UpdateByLibtorch([one], step);
        }
    }

    void UpdateByLibtorch(List<(OptimizedParameter Parameter, Tensor First, Tensor Second)> present, OptimizerStep step)
    {
        using var scope = NewDisposeScope();
        OperatorArgument rate = step.Rate;
        if (step.RateOnDevice is { } onDevice) rate = onDevice;
        // libtorch divides gradients by the scale, and changes nothing if the flag is 1
        TorchOperator.CallMany("aten::_fused_adamw_", step.RateOnDevice is null ? "" : "tensor_lr", 0,
            present.ConvertAll(item => (Tensor)item.Parameter.Value).ToArray(),
            present.ConvertAll(item => step.Gradients[item.Parameter.Name].to(item.Parameter.Value.dtype)).ToArray(),
            present.ConvertAll(item => item.First).ToArray(), present.ConvertAll(item => item.Second).ToArray(), Array.Empty<Tensor>(),
            Enumerable.Repeat(step.Steps, present.Count).ToArray(), rate, options.Beta1, options.Beta2, decay, options.Epsilon, false, false,
            OperatorArgument.Optional(step.Divisor), OperatorArgument.Optional(step.Failed));
    }
}
