using HybridArchitectures.Design;
using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>
/// Computes causal multi-head latent attention (arXiv 2405.04434, section 2.1). The rows of the projection <c>latent_up</c> are ordered by head: the
/// key's own part, then the value. The cache contains the normalized compressed vectors as keys and the shared key parts as values, of one head each.
/// </summary>
public sealed class LatentAttention : Mixer
{
    // up to this number of tokens, the projection from the compressed vector is applied to queries and outputs instead of all cached tokens
    const long FewTokens = 4;

    readonly LatentAttentionSpec spec;
    readonly int width;
    readonly double scale;
    readonly Linear? query, queryDown, queryUp;
    readonly Linear latentDown, latentUp, output;
    readonly RootMeanSquareNorm? queryNorm;
    readonly RootMeanSquareNorm latentNorm;

    /// <summary>Creates latent attention.</summary>
    public LatentAttention(ModuleFactory factory, LatentAttentionSpec spec) : base(nameof(LatentAttention), spec)
    {
        ModuleChecks.Spec(factory, spec);
        (this.spec, width) = (spec, factory.Width);
        scale = spec.Scale ?? 1 / Math.Sqrt(spec.KeySize);
        Linear Project(string name, int outputs, int inputs, bool bias) =>
            Add(name, new Linear(factory.Projection(outputs, inputs), bias ? factory.Bias(outputs) : null));
        if (spec.QueryRank == 0) query = Project("query", spec.QueryWidth, width, false);
        else
        {
            queryDown = Project("query_down", spec.QueryRank, width, spec.Bias);
            queryNorm = Add("query_norm", new RootMeanSquareNorm(factory, spec.QueryRank, spec.LatentNormEpsilon));
            queryUp = Project("query_up", spec.QueryWidth, spec.QueryRank, false);
        }
        latentDown = Project("latent_down", spec.KeyValueRank + spec.SharedKeySize, width, spec.Bias);
        latentNorm = Add("latent_norm", new RootMeanSquareNorm(factory, spec.KeyValueRank, spec.LatentNormEpsilon));
        latentUp = Project("latent_up", spec.ExpandedWidth, spec.KeyValueRank, false);
        output = Add("output", new Linear(
            factory.Projection(width, spec.OutputWidth, intoResidual: true), spec.Bias ? factory.Bias(width) : null));
    }

    /// <inheritdoc/>
    internal override bool ReadsHostLengths => true;

    /// <inheritdoc/>
    public override Tensor Forward(Tensor x, SequenceContext context, MixerState? state)
    {
        ModuleChecks.Input(x, width, context);
        long batch = x.size(0), length = x.size(1);
        var queries = (query is not null ? query.Forward(x) : queryUp!.Forward(queryNorm!.Forward(queryDown!.Forward(x))))
            .view(batch, length, spec.Heads, spec.KeySize);
        var (compressed, shared) = LastDimension.Split(latentDown.Forward(x), spec.KeyValueRank, spec.SharedKeySize);
        (compressed, shared) = (latentNorm.Forward(compressed).unsqueeze(2), shared.unsqueeze(2));                  // (B, L, 1, rank or shared)
        var (ownQueries, sharedQueries) = LastDimension.Split(queries, spec.HeadSize, spec.SharedKeySize);
        if (spec.Rotary is { } rotary)
        {
            var (cosine, sine) = context.RotaryTable(rotary, spec.SharedKeySize);
            (sharedQueries, shared) = (Rotary.Forward(sharedQueries, cosine, sine), Rotary.Forward(shared, cosine, sine));
        }
        AttentionPositions? positions;
        switch (state)
        {
            case null: positions = context.FullAttentionPositions(); break;
            case KeyValueState all: (compressed, shared, positions) = all.Append(compressed, shared, context); break;
            default: throw ModuleChecks.ForeignState(state, "latent attention");
        }
        var attended = state is not null && length <= FewTokens && IsPlain(latentUp)
            ? AttendCompressed(ownQueries, sharedQueries, compressed, shared, positions)
            : AttendExpanded(cat([ownQueries, sharedQueries], -1), compressed, shared, positions);
        return output.Forward(attended.reshape(batch, length, spec.OutputWidth));
    }

    static bool IsPlain(Linear projection) => projection.Adapter("weight") is null or { IsMerged: true };

    Tensor AttendExpanded(Tensor queries, Tensor compressed, Tensor shared, AttentionPositions? positions)
    {
        long batch = compressed.size(0), length = compressed.size(1);
        var expanded = latentUp.Forward(compressed.squeeze(2)).view(batch, length, spec.Heads, spec.HeadSize + spec.ValueHeadSize);
        var (keys, values) = LastDimension.Split(expanded, spec.HeadSize, spec.ValueHeadSize);
        keys = cat([keys, shared.expand(batch, length, spec.Heads, spec.SharedKeySize)], -1);
        return FusedAttention.Forward(queries, keys, values, scale, null, 0, positions);
    }

    // q^T (W_k c) = (W_k^T q)^T c, and the weighted sum of W_v c is W_v times that of c: one head of compressed keys and values serves all queries
    Tensor AttendCompressed(Tensor ownQueries, Tensor sharedQueries, Tensor compressed, Tensor shared, AttentionPositions? positions)
    {
        long batch = ownQueries.size(0), length = ownQueries.size(1);
        var weight = latentUp.Weight.to(ownQueries.dtype).view(spec.Heads, spec.HeadSize + spec.ValueHeadSize, spec.KeyValueRank);
        Tensor PerHead(Tensor rows, Tensor matrices) =>
            bmm(rows.permute(2, 0, 1, 3).flatten(1, 2), matrices).unflatten(1, batch, length).permute(1, 2, 0, 3);   // (B, L, H, ...)
        var intoLatent = PerHead(ownQueries, weight.narrow(1, 0, spec.HeadSize));
        var (queries, keys) = (cat([intoLatent, sharedQueries], -1), cat([compressed, shared], -1));
        var attended = FusedAttention.Forward(queries, keys, compressed, scale, null, 0, positions);
        return PerHead(attended, weight.narrow(1, spec.HeadSize, spec.ValueHeadSize).transpose(1, 2));
    }

    /// <inheritdoc/>
    public override MixerState CreateState(int batch, ScalarType compute, Device device)
    {
        StateChecks.State(batch, compute, device);
        return new KeyValueState(batch, 1, spec.KeyValueRank, spec.SharedKeySize, compute, device);
    }
}
