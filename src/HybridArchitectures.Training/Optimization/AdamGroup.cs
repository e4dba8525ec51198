using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Optimization;

/// <summary>Contains parameters with the same weight decay, and updates them by AdamW in libtorch's fused form: one kernel for all.</summary>
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
        // libtorch divides gradients by the scale, and changes nothing if the flag is 1
        TorchOperator.CallMany("aten::_fused_adamw_", "", 0,
            present.ConvertAll(item => (Tensor)item.Parameter.Value).ToArray(),
            present.ConvertAll(item => step.Gradients[item.Parameter.Name]).ToArray(),
            present.ConvertAll(item => item.First).ToArray(), present.ConvertAll(item => item.Second).ToArray(), Array.Empty<Tensor>(),
            Enumerable.Repeat(step.Steps, present.Count).ToArray(), step.Rate, options.Beta1, options.Beta2, decay, options.Epsilon, false, false,
            OperatorArgument.Optional(step.Divisor), OperatorArgument.Optional(step.Failed));
    }
}
