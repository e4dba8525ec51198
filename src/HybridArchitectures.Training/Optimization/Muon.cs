using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Modules;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Optimization;

/// <summary>
/// Implements Muon: the update of a matrix is its mean gradient made orthogonal, so that all directions of the matrix change equally fast
/// (Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; arXiv 2502.16982). AdamW updates all other parameters.
/// <para>
/// With gradient g of a matrix of r rows and c columns: m = μm + (1-μ)g; u = (1-μ)g + μm with Nesterov, otherwise m; W -= rate·decay·W;
/// W -= rate · s · √max(r, c) · UVᵀ, where UVᵀ is the orthogonal factor of u and s is <see cref="MuonOptions.UpdateScale"/>. The root mean square of
/// the elements of s · √max(r, c) · UVᵀ is s, as large as an update of AdamW.
/// </para>
/// <para>
/// With <see cref="MuonOptions.EqualNorms"/>, the rows of UVᵀ are scaled to the same norm if r > c, and its columns if c > r. The root mean square of
/// the elements does not change (arXiv 2602.21545, arXiv 2510.05491).
/// </para>
/// <para>
/// A matrix is a parameter with a <see cref="ModelParameter.Matrix"/>: the projections of all layers and the weights of experts. Projections that are
/// stored together (the inputs of Mamba-2 and of gated delta nets) are separate matrices. The momentum is kept in the type of the parameter. The
/// products are computed in bfloat16 on CUDA, and in the type of the parameter on the CPU.
/// </para>
/// </summary>
/// <inheritdoc cref="Optimizer" path="/remarks"/>
public sealed class Muon : Optimizer
{
    internal const string MomentumPrefix = "momentum.";

    // elements of the matrices that are made orthogonal in one call
    const long MaxBatchElements = 1L << 26;

    readonly MuonOptions options;
    readonly List<(OptimizedParameter Parameter, Tensor Momentum, MatrixLayout Layout, bool Decays)> matrices = [];
    readonly List<AdamGroup> others = [];

    /// <summary>
    /// Creates the state: one tensor with the shape of each matrix, two with the shape of each other parameter, and the number of steps.
    /// </summary>
    /// <param name="parameters">
    /// The parameters of a model: contiguous, on one device, all float32 or all float64. Frozen parameters are ignored.
    /// </param>
    /// <param name="options">The constants. The default, null, means the default values.</param>
    public Muon(IEnumerable<ModelParameter> parameters, MuonOptions? options = null)
        : this([.. Require.EachItem(parameters)], options ?? new MuonOptions())
    {
    }

    Muon(IReadOnlyList<ModelParameter> parameters, MuonOptions options) : base(Checked(parameters, options).Select(item => (item.Name, item.Value)))
    {
        this.options = options;
        using var scope = NewDisposeScope();
        // a step outside of inference mode could not change tensors of that mode
        using var ordinary = inference_mode(false);
        using var noGrad = no_grad();
        var facts = parameters.ToDictionary(item => item.Name, StringComparer.Ordinal);
        foreach (var item in Items)
            if (facts[item.Name].Matrix is { } layout)
                matrices.Add((item, CreateState(MomentumPrefix + item.Name, item.Value), layout, facts[item.Name].Decays));
        var rest = Items.Where(item => facts[item.Name].Matrix is null);
        foreach (var same in rest.GroupBy(item => facts[item.Name].Decays)) others.Add(CreateAdamGroup(same, options.Others, same.Key));
    }

    static IReadOnlyList<ModelParameter> Checked(IReadOnlyList<ModelParameter> parameters, MuonOptions options)
    {
        options.Check();
        foreach (var item in parameters)
            if (item.Matrix is { } layout) Check(item, layout);
        return parameters;
    }

    static void Check(ModelParameter item, MatrixLayout layout)
    {
        if (item.Value.dim() is not (2 or 3) || layout.Rows != item.Value.size(-2))
            throw Require.Unfit("parameters", $"parameter '{item.Name}' has shape ({string.Join(", ", item.Value.shape)})",
                $"({layout.Rows}, inputs) or (experts, {layout.Rows}, inputs), because its matrices have {layout.Rows} rows together");
        if (layout.HeadRows > 0 && layout.Parts.FirstOrDefault(part => part % layout.HeadRows != 0) is > 0 and var odd)
            throw Require.Unfit("parameters", $"a matrix of parameter '{item.Name}' has {odd} rows",
                $"a multiple of the {layout.HeadRows} rows of a head");
    }

    private protected override void Update(OptimizerStep update)
    {
        var rest = options.OthersRate == 1 ? update : update.AtRate(options.OthersRate);
        foreach (var group in others) group.Update(rest);
        var isFailed = update.Failed.gt(Scalars.Zero);
        var updates = new List<MatrixUpdate>();
        foreach (var (parameter, momentum, layout, decays) in matrices)
        {
            if (!update.Gradients.TryGetValue(parameter.Name, out var gradient)) continue;
            updates.AddRange(Matrices(parameter.Value, Direction(gradient, momentum, update, isFailed), layout, decays));
        }
        foreach (var shape in updates.GroupBy(item => (item.Direction.size(1), item.Direction.size(2))))
            foreach (var batch in Batches(shape)) Apply(batch, update, isFailed);
    }

    /// <summary>Updates the running mean, and returns the update before it is made orthogonal.</summary>
    Tensor Direction(Tensor gradient, Tensor momentum, OptimizerStep update, Tensor isFailed)
    {
        using var scope = NewDisposeScope();
        gradient = gradient.to(momentum.dtype);
        if (update.Divisor is not null) gradient = gradient.div(update.Divisor);
        var mean = Mix(momentum, gradient);
        momentum.copy_(where(isFailed, momentum, mean));
        return (options.Nesterov ? Mix(mean, gradient) : mean).MoveToOuterDisposeScope();
    }

    Tensor Mix(Tensor mean, Tensor gradient) => mean.mul(Scalars.From(options.Momentum)).add_(gradient, Scalars.From(1 - options.Momentum));

    /// <summary>Divides a parameter, (rows, columns) or (experts, rows, columns), and its update into matrices of one shape each.</summary>
    IEnumerable<MatrixUpdate> Matrices(Tensor value, Tensor direction, MatrixLayout layout, bool decays)
    {
        long first = 0, columns = value.size(-1);
        foreach (int rows in layout.Parts)
        {
            int each = options.PerHead ? layout.RowsOfHead(rows) : layout.Repeats * rows;
            Tensor Cut(Tensor whole) => whole.view(-1, layout.Repeats, layout.Rows / layout.Repeats, columns).narrow(2, first, rows);
            yield return new(Cut(value), Cut(direction).reshape(-1, each, columns), decays);
            first += rows;
        }
    }

    static IEnumerable<List<MatrixUpdate>> Batches(IEnumerable<MatrixUpdate> updates)
    {
        var batch = new List<MatrixUpdate>();
        long elements = 0;
        foreach (var one in updates)
        {
            if (batch.Count > 0 && elements + one.Direction.NumberOfElements > MaxBatchElements)
            {
                yield return batch;
                (batch, elements) = ([], 0);
            }
            batch.Add(one);
            elements += one.Direction.NumberOfElements;
        }
        if (batch.Count > 0) yield return batch;
    }

    void Apply(List<MatrixUpdate> batch, OptimizerStep update, Tensor isFailed)
    {
        using var scope = NewDisposeScope();
        var (type, device) = (batch[0].Value.dtype, batch[0].Value.device);
        var stacked = cat(batch.ConvertAll(item => item.Direction), 0);
        if (device.type == DeviceType.CUDA && type == ScalarType.Float32) stacked = stacked.to(ScalarType.BFloat16);
        double scale = options.UpdateScale * Math.Sqrt(Math.Max(stacked.size(1), stacked.size(2)));
        // a copy from the host would wait for the device, and cannot be captured
        var rates = type == ScalarType.Float32 && update.RateOnDevice is { } onDevice ? onDevice : tensor(update.Rate, type, device);
        var factor = PolarFactor.Compute(stacked, options.Orthogonalization, options.Iterations).to(type);
        if (options.EqualNorms) factor = PolarFactor.WithEqualNorms(factor);
        var change = factor.mul(rates.mul(Scalars.From(scale)));
        var decay = rates.mul(Scalars.From(options.WeightDecay));
        long first = 0;
        foreach (var (value, direction, decays) in batch)
        {
            using var one = NewDisposeScope();
            var next = value.sub(change.narrow(0, first, direction.size(0)).reshape(value.shape));
            if (decays) next.sub_(value.mul(decay));
            value.copy_(where(isFailed, value, next));
            first += direction.size(0);
        }
    }

    /// <summary>
    /// Contains matrices of one shape: their values, a view of a parameter as (experts, repeats, rows of a repeat, columns), and their update as
    /// (matrices, rows, columns).
    /// </summary>
    sealed record MatrixUpdate(Tensor Value, Tensor Direction, bool Decays);
}
