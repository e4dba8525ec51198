using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Modules;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Optimization;

/// <summary>
/// Implements AdamW with gradient clipping, in libtorch's fused form: one kernel for all parameters, and no value is read back to the host.
/// <para>
/// With gradient g and step t (arXiv 1711.05101): p -= rate·decay·p; m = β₁m + (1-β₁)g; v = β₂v + (1-β₂)g²; p -= rate · (m / (1-β₁ᵗ)) / (√(v /
/// (1-β₂ᵗ)) + ε). Clipping first multiplies g by min(1, clip / (‖g‖ + 1e-6)), with the norm over all parameters together.
/// </para>
/// <para>
/// A step whose norm is not finite changes nothing, and neither does any later step (see <see cref="ReadFailed"/>). One bad batch therefore cannot
/// damage the parameters before it is noticed, and they can be examined as they were at that batch.
/// </para>
/// </summary>
/// <remarks>Create the optimizer after the model is on its device, because moving a model creates new parameters.</remarks>
public sealed class AdamW : IDisposable
{
    const string StepName = "step", FirstPrefix = "first.", SecondPrefix = "second.";

    readonly List<Group> groups = [];
    readonly Dictionary<string, Tensor> state = new(StringComparer.Ordinal);
    readonly Tensor step, failed, one, none, smallest;
    readonly Device device;
    readonly AdamWOptions options;
    Tensor? clipTensor;
    double clipOfTensor;
    bool disposed;

    sealed record Item(string Name, Parameter Value, Tensor First, Tensor Second);

    sealed record Group(double Decay, List<Item> Items);

    /// <summary>Creates the state of an optimizer: two tensors with the shape of each parameter, and the number of steps.</summary>
    /// <param name="parameters">
    /// Names, parameters (contiguous, on one device, all float32 or all float64), and whether weight decay applies. Frozen parameters are ignored.
    /// </param>
    /// <param name="options">The constants. The default, null, means the default values.</param>
    public AdamW(IEnumerable<(string Name, Parameter Value, bool Decays)> parameters, AdamWOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(parameters);
        this.options = options ?? new AdamWOptions();
        this.options.Check();
        var all = parameters.Where(item => item.Value.requires_grad).ToList();
        if (all.Count == 0)
            throw Require.Unfit(nameof(parameters), "no parameter requires a gradient", "at least one");
        device = all[0].Value.device;
        foreach (var (name, value, _) in all) Check(name, value, all[0].Value.dtype);
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        step = zeros([], float32, device).DetachFromDisposeScope();
        one = ones([], float32, device).DetachFromDisposeScope();
        none = zeros([], float32, device).DetachFromDisposeScope();
        failed = zeros([], float32, device).DetachFromDisposeScope();
        smallest = tensor(1e-6f, device: device).DetachFromDisposeScope();
        state.Add(StepName, step);
        foreach (var same in all.GroupBy(item => item.Decays))
        {
            var items = new List<Item>();
            foreach (var (name, value, _) in same)
            {
                var item = new Item(name, value, zeros_like(value).DetachFromDisposeScope(), zeros_like(value).DetachFromDisposeScope());
                if (!state.TryAdd(FirstPrefix + name, item.First))
                    throw Require.Unfit(nameof(parameters), $"parameter '{name}' occurs twice", "each name once");
                state.Add(SecondPrefix + name, item.Second);
                items.Add(item);
            }
            groups.Add(new Group(same.Key ? this.options.WeightDecay : 0, items));
        }
    }

    void Check(string name, Parameter value, ScalarType type)
    {
        if (type is not (ScalarType.Float32 or ScalarType.Float64) || value.dtype != type)
            throw Require.Unfit("parameters", $"parameter '{name}' is {value.dtype}", "all Float32 (or all Float64)");
        if (value.device.ToString() != device.ToString())
            throw Require.Unfit("parameters", $"parameter '{name}' is on {value.device}", $"{device}, the device of the first");
        if (!value.is_contiguous()) throw Require.Unfit("parameters", $"parameter '{name}' is not contiguous", "a contiguous tensor");
    }

    /// <summary>Gets the state of the optimizer for a checkpoint, by name. The tensors are not copied.</summary>
    /// <exception cref="ObjectDisposedException">The optimizer is disposed.</exception>
    public IReadOnlyDictionary<string, Tensor> State
    {
        get
        {
            RequireAlive();
            return state;
        }
    }

    void RequireAlive() => ObjectDisposedException.ThrowIf(disposed, this);

    /// <summary>Updates every parameter that has a gradient, and deletes the gradients.</summary>
    /// <param name="rate">The learning rate, finite and at least 0.</param>
    /// <param name="clip">The maximum norm of all gradients together. The default, infinity, disables clipping.</param>
    /// <param name="watched">
    /// A value, for example the loss, that must be finite for the step to count. It must be on the device of the parameters. The default, null, means
    /// none.
    /// </param>
    /// <returns>The norm before clipping: a float32 scalar on the device, in the current dispose scope. Reading it waits for the device.</returns>
    /// <remarks>A parameter without a gradient does not change. The number of steps is the same for all parameters.</remarks>
    public Tensor Step(double rate, double clip = double.PositiveInfinity, Tensor? watched = null)
    {
        RequireAlive();
        Require.InRange(rate >= 0 && double.IsFinite(rate), nameof(rate), rate, "a finite number of at least 0");
        Require.InRange(clip > 0, nameof(clip), clip, "a number above 0");
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var present = groups.ConvertAll(Gather);
        var gradients = present.SelectMany(group => group.Gradients).ToList();
        if (gradients.Count == 0) throw new InvalidOperationException("no parameter has a gradient; run a backward pass before the step");
        var norm = Norm(gradients);
        // libtorch divides gradients by the scale, and changes nothing if the flag is 1
        var scale = double.IsPositiveInfinity(clip) ? null : maximum(norm.add(smallest, Scalars.One).div(ClipValue(clip)), one);
        var sound = watched is null ? norm.isfinite() : norm.isfinite().logical_and(watched.isfinite());
        failed.copy_(maximum(failed, where(sound, none, one)));
        // add without a scalar argument creates a scalar that may be finalized while native code uses it
        step.add_(one, Scalars.One).sub_(failed);
        foreach (var (group, items, grads) in present)
        {
            if (items.Count == 0) continue;
            TorchOperator.CallMany("aten::_fused_adamw_", "", 0,
                items.ConvertAll(item => (Tensor)item.Value).ToArray(), grads.ToArray(),
                items.ConvertAll(item => item.First).ToArray(), items.ConvertAll(item => item.Second).ToArray(), Array.Empty<Tensor>(),
                Enumerable.Repeat(step, items.Count).ToArray(), rate, options.Beta1, options.Beta2, group.Decay, options.Epsilon, false, false,
                OperatorArgument.Optional(scale), OperatorArgument.Optional(failed));
        }
        WeightWrites.Add();         // the fused step does not change the versions of the parameters
        DropGradients();
        return norm.MoveToOuterDisposeScope();
    }

    /// <summary>Reads the norm of all gradients together. This waits for the device.</summary>
    internal double ReadGradientNorm()
    {
        RequireAlive();
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        return Norm([.. groups.SelectMany(group => group.Items).Select(item => item.Value.grad).OfType<Tensor>()]).item<float>();
    }

    /// <summary>
    /// Returns whether a step had a norm, or a watched value, that was not finite. No later step counts then. Reading it waits for the device.
    /// </summary>
    public bool ReadFailed() => Number(failed) != 0;

    /// <summary>Returns the number of steps that counted. Reading it waits for the device.</summary>
    public long ReadSteps() => (long)Number(step);

    float Number(Tensor value)
    {
        RequireAlive();
        using var scope = NewDisposeScope();
        return value.item<float>();
    }

    /// <summary>Makes steps count again after a failed one.</summary>
    public void ForgetFailure()
    {
        RequireAlive();
        using var noGrad = no_grad();
        failed.copy_(none);
    }

    Tensor ClipValue(double clip)
    {
        if (clipTensor is not null && clipOfTensor == clip) return clipTensor;
        clipTensor?.Dispose();
        clipOfTensor = clip;
        return clipTensor = tensor((float)clip, device: device).DetachFromDisposeScope();
    }

    static (Group Group, List<Item> Items, List<Tensor> Gradients) Gather(Group group)
    {
        var items = new List<Item>(group.Items.Count);
        var gradients = new List<Tensor>(group.Items.Count);
        foreach (var item in group.Items)
        {
            if (item.Value.IsInvalid)
                throw new InvalidOperationException(
                    $"parameter '{item.Name}' is gone: the model was moved or disposed after the optimizer was created");
            if (item.Value.grad is not { } gradient) continue;
            items.Add(item);
            gradients.Add(gradient.is_contiguous() ? gradient : gradient.contiguous());     // the fused kernel ignores strides
        }
        return (group, items, gradients);
    }

    static Tensor Norm(List<Tensor> gradients)
    {
        var norms = gradients.ConvertAll(gradient => gradient.norm());
        return stack(norms).norm().to(float32);
    }

    /// <summary>Deletes all gradients: after a step, or after a failed backward pass that left only some of them.</summary>
    public void DropGradients()
    {
        RequireAlive();
        foreach (var group in groups)
            foreach (var item in group.Items)
                item.Value.grad = null;
    }

    /// <summary>Loads a saved state.</summary>
    /// <param name="read">Fills the given tensor with the values that were saved under the given name.</param>
    public void Load(Action<string, Tensor> read)
    {
        RequireAlive();
        ArgumentNullException.ThrowIfNull(read);
        foreach (var (name, tensor) in state) read(name, tensor);
    }

    /// <summary>Disposes the state.</summary>
    public void Dispose()
    {
        disposed = true;
        foreach (var tensor in state.Values.Append(failed).Append(one).Append(none).Append(smallest)) tensor.Dispose();
        clipTensor?.Dispose();
    }
}
