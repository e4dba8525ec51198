namespace HybridArchitectures.Adapters;

/// <summary>Which projections get an adapter, by the part of the model they belong to.</summary>
[Flags]
public enum LoraTargets
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>Queries, keys, values and output of attention, also inside intra-layer hybrids and shared transformers.</summary>
    Attention = 1,

    /// <summary>Projections into and out of state-space mixers and gated delta nets, also inside intra-layer hybrids: input, output, and in Mamba-1 the selection and the time steps.</summary>
    StateSpace = 2,

    /// <summary>Projections of other mixers, those of users included, and those that join branches or shared transformers to the stream.</summary>
    OtherMixers = 4,

    /// <summary>Feed-forwards, shared experts included, and projections into and out of a latent space.</summary>
    FeedForward = 8,

    /// <summary>Every routed expert, with an adapter of its own.</summary>
    Experts = 16,

    /// <summary>Routers of experts and gates of shared ones.</summary>
    Routers = 32,

    /// <summary>The head. If it is the embedding, the adapter serves the head alone.</summary>
    Head = 64,

    /// <summary>Every projection inside the blocks, routers aside.</summary>
    Blocks = Attention | StateSpace | OtherMixers | FeedForward | Experts,

    /// <summary>Every projection there is.</summary>
    All = Blocks | Routers | Head,
}
