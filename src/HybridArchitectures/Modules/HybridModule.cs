using TorchSharp.Modules;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>
/// Provides the base class of all modules of this library. Parameters and children are registered with explicit names, which are their names in a
/// checkpoint, and are looked up by name. <c>model.to(device)</c> can therefore not leave a stale field.
/// </summary>
public abstract class HybridModule : nn.Module
{
    readonly HashSet<string> neverDecayed = [];
    Dictionary<string, LoraWeight>? adapters;
    Dictionary<string, (nint Handle, long Version, long Writes, Tensor Value)>? derived;

    /// <summary>Creates a module; <paramref name="kind"/> is its name in exceptions.</summary>
    protected HybridModule(string kind) : base(kind) { }

    /// <summary>Gets whether the module has been disposed.</summary>
    internal bool IsDisposed { get; private set; }

    /// <summary>Throws an exception if the module has been disposed.</summary>
    /// <exception cref="ObjectDisposedException">The module has been disposed.</exception>
    internal void RequireAlive() => ObjectDisposedException.ThrowIf(IsDisposed, this);

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        IsDisposed = true;
        if (derived is not null)
            foreach (var kept in derived.Values) kept.Value.Dispose();
        derived = null;
        base.Dispose(disposing);
    }

    /// <summary>
    /// Registers a parameter. Weight decay does not apply if <paramref name="decays"/> is false: norms, biases, <c>A_log</c>, <c>D</c>,
    /// <c>dt_bias</c>.
    /// </summary>
    protected void AddParameter(string name, Parameter parameter, bool decays)
    {
        register_parameter(name, parameter);
        if (!decays) neverDecayed.Add(name);
    }

    /// <summary>Registers a child module and returns it.</summary>
    protected T Add<T>(string name, T child) where T : HybridModule
    {
        register_module(name, child);
        return child;
    }

    /// <summary>Returns the current parameter with a name.</summary>
    protected Parameter Parameter(string name)
    {
        RequireAlive();
        return get_parameter(name) ?? throw new InvalidOperationException($"{GetName()} has no parameter '{name}'");
    }

    /// <summary>
    /// Gets the names of the parameters of this module, (outputs, inputs) or (experts, outputs, inputs), that are weights of projections, so that
    /// low-rank adapters can be attached to them. A module that lists a weight passes the result of the projection through
    /// <see cref="Adapted(string, Tensor, Tensor)"/>. Projections by a <see cref="Linear"/> need neither.
    /// </summary>
    protected internal virtual IReadOnlyList<string> ProjectionWeights => [];

    /// <summary>
    /// Returns the matrices of which one of <see cref="ProjectionWeights"/> consists: by default one (for each expert). Null if the weight is not a
    /// matrix for an optimizer, as an embedding is not.
    /// </summary>
    /// <param name="weight">The name of the weight.</param>
    protected internal virtual MatrixLayout? Matrix(string weight) =>
        Parameter(weight) is { } value && value.size(-2) > 1 && value.size(-1) > 1 ? new([checked((int)value.size(-2))]) : null;

    /// <summary>Returns the result of a projection plus the output of its adapter; the result itself if there is no adapter.</summary>
    /// <param name="weight">The name of the weight, one of <see cref="ProjectionWeights"/>.</param>
    /// <param name="x">The input of the projection, (..., inputs).</param>
    /// <param name="projected">The result of the projection, (..., outputs).</param>
    protected Tensor Adapted(string weight, Tensor x, Tensor projected) =>
        Adapter(weight) is { IsMerged: false } adapter ? projected.add(adapter.Forward(x), Scalars.One) : projected;

    internal Parameter ProjectionWeight(string name) => Parameter(name);

    internal LoraWeight? Adapter(string weight) => adapters?.GetValueOrDefault(weight);

    /// <summary>Returns the adapters of this module and of those below it, by the full names of their weights.</summary>
    internal IEnumerable<(string Name, LoraWeight Adapter)> AllAdapters(string prefix = "")
    {
        foreach (var (weight, adapter) in adapters ?? []) yield return (prefix + weight, adapter);
        foreach (var (name, child) in named_children())
        {
            if (child is not HybridModule module || child is LoraWeight) continue;
            foreach (var one in module.AllAdapters($"{prefix}{name}.")) yield return one;
        }
    }

    internal void SetAdapter(string weight, LoraWeight? adapter)
    {
        register_module($"lora_{weight}", adapter!);        // null removes it
        adapters ??= [];
        if (adapter is null) adapters.Remove(weight);
        else adapters.Add(weight, adapter);
    }

    /// <summary>Returns a parameter in the type that operators along a sequence accept for x: float64 for float64, otherwise unchanged.</summary>
    private protected Tensor Parameter(string name, Tensor x) =>
        x.dtype == ScalarType.Float64 ? Parameter(name).to(ScalarType.Float64) : Parameter(name);

    /// <summary>
    /// Returns a function of a parameter alone, such as -exp(A_log). Without gradients, the result is stored until the parameter changes, so that a
    /// step does not compute it again. With gradients, or for float64 activations, it is computed.
    /// </summary>
    private protected Tensor Derived(string name, Tensor x, Func<Tensor, Tensor> compute)
    {
        if (x.dtype == ScalarType.Float64 || is_grad_enabled()) return compute(Parameter(name, x));
        var parameter = Parameter(name);
        long version = TorchOperator.CallInteger("aten::_version", "", parameter), writes = WeightWrites.Count;
        if (derived is null) Interlocked.CompareExchange(ref derived, [], null);
        lock (derived)
        {
            bool isStored = derived.TryGetValue(name, out var stored);
            if (isStored && stored.Handle == parameter.Handle && stored.Version == version && stored.Writes == writes) return stored.Value;
            using var scope = NewDisposeScope();
            var value = compute(parameter);
            // a captured graph may read the stored tensor, so its memory stays in place
            if (isStored && IsLike(stored.Value, value))
            {
                stored.Value.copy_(value);
                value = stored.Value;
            }
            else
            {
                if (isStored) stored.Value.Dispose();
                value = value.DetachFromDisposeScope();
            }
            StoredResults++;
            derived[name] = (parameter.Handle, version, writes, value);
            return value;
        }
    }

    static bool IsLike(Tensor first, Tensor second) =>
        first.device_type == second.device_type && first.device_index == second.device_index && first.dtype == second.dtype
        && first.shape.SequenceEqual(second.shape);

    /// <summary>Gets the number of results that <see cref="Derived"/> has stored, also those that were stored again.</summary>
    internal long StoredResults { get; private set; }

    /// <summary>Gets whether the results stored by <see cref="Derived"/> are those of the present parameters.</summary>
    internal bool StoredResultsAreCurrent
    {
        get
        {
            if (derived is null) return true;
            lock (derived)
            {
                foreach (var (name, stored) in derived)
                {
                    var parameter = Parameter(name);
                    if (stored.Handle != parameter.Handle || stored.Writes != WeightWrites.Count
                        || stored.Version != TorchOperator.CallInteger("aten::_version", "", parameter)) return false;
                }
            }
            return true;
        }
    }

    /// <summary>Returns x times a constant; x itself for 1.</summary>
    private protected static Tensor Scaled(Tensor x, double factor) => factor == 1 ? x : x.mul(Scalars.From(factor));

    /// <summary>Gets all parameters of this module and its children with their full names.</summary>
    internal IEnumerable<(string Name, Parameter Value, bool Decays)> AllParameters(string prefix = "")
    {
        RequireAlive();
        foreach (var (name, parameter) in named_parameters(recurse: false)) yield return (prefix + name, parameter, !neverDecayed.Contains(name));
        foreach (var (name, child) in named_children())
        {
            if (child is not HybridModule own) throw new InvalidOperationException($"the child '{name}' of {GetName()} is no {nameof(HybridModule)}");
            if (own is LoraWeight { IsMerged: true }) continue;
            foreach (var item in own.AllParameters($"{prefix}{name}.")) yield return item;
        }
    }

    /// <summary>Gets the layouts of all weights of this module and its children that are matrices, with their full names.</summary>
    internal IEnumerable<(string Name, MatrixLayout Layout)> AllMatrices(string prefix = "")
    {
        foreach (var weight in ProjectionWeights)
            if (Matrix(weight) is { } layout) yield return (prefix + weight, layout);
        foreach (var (name, child) in named_children())
            foreach (var item in ((HybridModule)child).AllMatrices($"{prefix}{name}.")) yield return item;
    }

    /// <summary>Gets this module and all modules below it.</summary>
    internal IEnumerable<HybridModule> AllModules() => named_children().Select(item => item.module)
        .OfType<HybridModule>().SelectMany(child => child.AllModules()).Prepend(this);

    /// <summary>
    /// Gets every tensor of this module and its children that a checkpoint contains, with its full name: parameters and persistent buffers.
    /// </summary>
    internal IEnumerable<(string Name, Tensor Value)> AllState(string prefix = "")
    {
        RequireAlive();
        foreach (var (name, parameter) in named_parameters(recurse: false)) yield return (prefix + name, parameter);
        foreach (var (name, buffer) in named_buffers(recurse: false, include_nonpersistent: false)) yield return (prefix + name, buffer);
        foreach (var (name, child) in named_children())
        {
            if (child is LoraWeight { IsMerged: true }) continue;
            foreach (var item in ((HybridModule)child).AllState($"{prefix}{name}.")) yield return item;
        }
    }

    /// <summary>Does nothing: everything is registered by name and not by reflection.</summary>
    protected sealed override void RegisterComponents() { }
}
