using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Optimization;

/// <summary>
/// Implements AdamW in libtorch's fused form: one kernel for all parameters.
/// <para>
/// With gradient g and step t (arXiv 1711.05101): p -= rate·decay·p; m = β₁m + (1-β₁)g; v = β₂v + (1-β₂)g²; p -= rate · (m / (1-β₁ᵗ)) / (√(v /
/// (1-β₂ᵗ)) + ε).
/// </para>
/// </summary>
/// <inheritdoc cref="Optimizer" path="/remarks"/>
public sealed class AdamW : Optimizer
{
    readonly List<AdamGroup> groups = [];

    /// <summary>Creates the state of an optimizer: two tensors with the shape of each parameter, and the number of steps.</summary>
    /// <param name="parameters">
    /// Names, parameters (contiguous, on one device, all float32 or all float64), and whether weight decay applies. Frozen parameters are ignored.
    /// </param>
    /// <param name="options">The constants. The default, null, means the default values.</param>
    public AdamW(IEnumerable<(string Name, Parameter Value, bool Decays)> parameters, AdamWOptions? options = null)
        : this([.. Require.EachItem(parameters)], options ?? new AdamWOptions())
    {
    }

    AdamW(IReadOnlyList<(string Name, Parameter Value, bool Decays)> parameters, AdamWOptions options)
        : base(Checked(parameters, options).Select(item => (item.Name, item.Value)))
    {
        using var scope = NewDisposeScope();
        // a step outside of inference mode could not change tensors of that mode
        using var ordinary = inference_mode(false);
        using var noGrad = no_grad();
        var decaying = parameters.Where(item => item.Decays).Select(item => item.Name).ToHashSet(StringComparer.Ordinal);
        foreach (var same in Items.GroupBy(item => decaying.Contains(item.Name)))
            groups.Add(CreateAdamGroup(same, options, same.Key));
    }

    static IReadOnlyList<(string Name, Parameter Value, bool Decays)> Checked(
        IReadOnlyList<(string Name, Parameter Value, bool Decays)> parameters, AdamWOptions options)
    {
        options.Check();
        return parameters;
    }

    private protected override void Update(OptimizerStep update)
    {
        foreach (var group in groups) group.Update(update);
    }
}
