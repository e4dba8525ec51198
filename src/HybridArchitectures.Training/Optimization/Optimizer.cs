using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Modules;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Optimization;

/// <summary>
/// Updates the parameters of a model from their gradients. Nothing is read back to the host during a step.
/// <para>
/// Clipping first multiplies all gradients by min(1, clip / (‖g‖ + 1e-6)), with the norm over all parameters together. A step whose norm is not
/// finite changes nothing, and neither does any later step (see <see cref="ReadFailed"/>). One bad batch therefore cannot damage the parameters
/// before it is noticed, and they can be examined as they were at that batch.
/// </para>
/// </summary>
/// <remarks>Create the optimizer after the model is on its device, because moving a model creates new parameters.</remarks>
public abstract class Optimizer : IDisposable
{
    internal const string StepName = "step", FirstPrefix = "first.", SecondPrefix = "second.";

    readonly List<OptimizedParameter> items;
    readonly Dictionary<string, Tensor> state = new(StringComparer.Ordinal);
    readonly Tensor step, failed, one, none, normFloor, rateOnDevice;
    readonly Device device;
    Tensor? clipTensor;
    double clipOfTensor;
    IReadOnlyList<Tensor> copied = [];          // parameters whose copies in bfloat16 the latest step has written
    bool disposed;

    private protected Optimizer(IEnumerable<(string Name, Parameter Value)> parameters)
    {
        ArgumentNullException.ThrowIfNull(parameters);
        items = [.. parameters.Where(item => item.Value.requires_grad).Select(item => new OptimizedParameter(item.Name, item.Value))];
        if (items.Count == 0) throw Require.Unfit(nameof(parameters), "no parameter requires a gradient", "at least one");
        device = items[0].Value.device;
        var names = new HashSet<string>(StringComparer.Ordinal);
        foreach (var item in items)
        {
            if (!names.Add(item.Name)) throw Require.Unfit(nameof(parameters), $"parameter '{item.Name}' occurs twice", "each name once");
            Check(item, items[0].Value.dtype);
        }
        using var scope = NewDisposeScope();
        // a step outside of inference mode could not change tensors of that mode
        using var ordinary = inference_mode(false);
        using var noGrad = no_grad();
        step = zeros([], float32, device).DetachFromDisposeScope();
        one = ones([], float32, device).DetachFromDisposeScope();
        none = zeros([], float32, device).DetachFromDisposeScope();
        failed = zeros([], float32, device).DetachFromDisposeScope();
        normFloor = tensor(1e-6f, device: device).DetachFromDisposeScope();
        rateOnDevice = zeros([], float32, device).DetachFromDisposeScope();
        state.Add(StepName, step);
        Collected = new(items.Select(item => item.Value));
    }

    void Check(OptimizedParameter item, ScalarType type)
    {
        var (name, value) = (item.Name, item.Value);
        if (type is not (ScalarType.Float32 or ScalarType.Float64) || value.dtype != type)
            throw Require.Unfit("parameters", $"parameter '{name}' is {value.dtype}", "all Float32 (or all Float64)");
        if (value.device.ToString() != device.ToString())
            throw Require.Unfit("parameters", $"parameter '{name}' is on {value.device}", $"{device}, the device of the first");
        if (!value.is_contiguous()) throw Require.Unfit("parameters", $"parameter '{name}' is not contiguous", "a contiguous tensor");
    }

    /// <summary>Gets the parameters that require a gradient.</summary>
    private protected IReadOnlyList<OptimizedParameter> Items => items;

    /// <summary>
    /// Gets what keeps gradients in a narrower type than that of their parameters during a backward pass. The next step reads them too, as if they
    /// had been cast.
    /// </summary>
    internal GradientCollection Collected { get; }

    /// <summary>Creates a state tensor of zeros with the shape and type of a parameter. It is a part of <see cref="State"/>.</summary>
    private protected Tensor CreateState(string name, Tensor like)
    {
        var value = zeros_like(like).DetachFromDisposeScope();
        state.Add(name, value);
        return value;
    }

    /// <summary>Creates the state of AdamW for parameters that have the same weight decay.</summary>
    private protected AdamGroup CreateAdamGroup(IEnumerable<OptimizedParameter> parameters, AdamWOptions options, bool decays)
    {
        var group = new AdamGroup(options, decays ? options.WeightDecay : 0);
        foreach (var item in parameters)
            group.Add(item, CreateState(FirstPrefix + item.Name, item.Value), CreateState(SecondPrefix + item.Name, item.Value));
        return group;
    }

    /// <summary>
    /// Gets or sets a function that returns the norm of all gradients from that of the gradients of this optimizer, if other optimizers have the
    /// other parameters of the model. The default is null.
    /// </summary>
    internal Func<Tensor, Tensor>? Others { get; set; }

    /// <summary>Updates the parameters that have a gradient. It must change nothing where <see cref="OptimizerStep.Failed"/> is 1.</summary>
    private protected abstract void Update(OptimizerStep update);

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

    /// <summary>
    /// Gets or sets whether a step on a GPU writes copies of weights in bfloat16 for the products of the next step. Without them, products cast their
    /// weights. The default is true.
    /// </summary>
    internal bool KeepsCopies { get; set; } = true;

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
        SetRate(rate);
        var norm = StepAtRate(rate, clip, watched);
        WeightWrites.Add();         // a fused step does not change the versions of the parameters
        WeightCopies.Confirm(copied);
        return norm;
    }

    /// <summary>Sets the learning rate on the device for <see cref="StepAtRate"/>.</summary>
    internal void SetRate(double rate)
    {
        RequireAlive();
        Require.InRange(rate >= 0 && double.IsFinite(rate), nameof(rate), rate, "a finite number of at least 0");
        if (device.type == DeviceType.CPU) return;
        using var noGrad = no_grad();
        using var number = rate.ToScalar();
        rateOnDevice.fill_(number);
        GC.KeepAlive(number);
    }

    /// <summary>
    /// Makes a step. If <paramref name="rate"/> is null, the learning rate is that of <see cref="SetRate"/> at the time when the device executes the
    /// step, so that a captured step can be launched with another rate. The caller counts the write of the weights.
    /// </summary>
    internal Tensor StepAtRate(double? rate, double clip, Tensor? watched)
    {
        RequireAlive();
        Require.InRange(clip > 0, nameof(clip), clip, "a number above 0");
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var gradients = Gradients();
        if (gradients.Count == 0) throw new InvalidOperationException("no parameter has a gradient; run a backward pass before the step");
        var norm = Norm(gradients.Values);
        if (Others is not null) norm = Others(norm);
        var divisor = double.IsPositiveInfinity(clip) ? null : maximum(norm.add(normFloor, Scalars.One).div(ClipValue(clip)), one);
        var sound = watched is null ? norm.isfinite() : norm.isfinite().logical_and(watched.isfinite());
        failed.copy_(maximum(failed, where(sound, none, one)));
        // add without a scalar argument creates a scalar that may be finalized while native code uses it
        step.add_(one, Scalars.One).sub_(failed);
        var update = new OptimizerStep(rate ?? double.NaN, device.type == DeviceType.CPU ? null : rateOnDevice, step, failed, divisor, gradients)
        {
            KeepsCopies = KeepsCopies,
        };
        Update(update);
        copied = update.Copied;
        DropGradients();
        return norm.MoveToOuterDisposeScope();
    }

    /// <summary>Reads the norm of all gradients together. This waits for the device.</summary>
    internal double ReadGradientNorm()
    {
        RequireAlive();
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var norm = Norm(items.Select(item => Collected.Of(item.Value)).OfType<Tensor>());
        return (Others?.Invoke(norm) ?? norm).item<float>();
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

    /// <summary>Clears tensors on the device if a step has failed (<see cref="ReadFailed"/>), without waiting for the device.</summary>
    internal void ClearIfFailed(IEnumerable<Tensor> tensors)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        foreach (var tensor in tensors) tensor.mul_(one.sub(failed));
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

    Dictionary<string, Tensor> Gradients()
    {
        var gradients = new Dictionary<string, Tensor>(items.Count, StringComparer.Ordinal);
        foreach (var item in items)
        {
            if (item.Value.IsInvalid)
                throw new InvalidOperationException(
                    $"parameter '{item.Name}' is gone: the model was moved or disposed after the optimizer was created");
            if (Collected.Of(item.Value) is not { } gradient) continue;
            gradients.Add(item.Name, gradient.is_contiguous() ? gradient : gradient.contiguous());     // the fused kernel ignores strides
        }
        return gradients;
    }

    static Tensor Norm(IEnumerable<Tensor> gradients)
    {
        var all = gradients.ToList();
        return all.TrueForAll(GradientNormCuda.Serves) ? GradientNormCuda.Compute(all)
            : stack(all.Select(WideNorm)).norm().to(float32);
    }

    static Tensor WideNorm(Tensor gradient)
    {
        using var scope = NewDisposeScope();
        return (gradient.ElementSize < sizeof(float) ? gradient.to(float32) : gradient).norm().MoveToOuterDisposeScope();
    }

    /// <summary>Deletes all gradients: after a step, or after a failed backward pass that left only some of them.</summary>
    public void DropGradients()
    {
        RequireAlive();
        foreach (var item in items) item.Value.grad = null;
        Collected.Clear();
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
        WeightCopies.Release(items.Select(item => item.Value));
        Collected.Clear();
        foreach (var tensor in state.Values.Append(failed).Append(one).Append(none).Append(normFloor).Append(rateOnDevice)) tensor.Dispose();
        clipTensor?.Dispose();
        GC.SuppressFinalize(this);
    }
}
