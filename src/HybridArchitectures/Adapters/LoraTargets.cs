namespace HybridArchitectures.Adapters;

/// <summary>Specifies which projections get an adapter, by the part of the model to which they belong.</summary>
[Flags]
public enum LoraTargets
{
    /// <summary>Selects no projection.</summary>
    None = 0,

    /// <summary>Adapts queries, keys, values and output of attention, including those in intra-layer hybrids and shared transformers.</summary>
    Attention = 1,

    /// <summary>
    /// Adapts input and output projections of recurrent mixers, such as state-space mixers, delta nets and linear attention, including those in
    /// intra-layer hybrids. For Mamba-1, also the projections of B, C and the time steps.
    /// </summary>
    StateSpace = 2,

    /// <summary>
    /// Adapts projections of other mixers, including custom ones, and those that join branches or shared transformers with the residual stream.
    /// </summary>
    OtherMixers = 4,

    /// <summary>Adapts feed-forwards, including shared experts, and projections into and out of a latent space.</summary>
    FeedForward = 8,

    /// <summary>Adapts all routed experts. Each expert has a separate adapter.</summary>
    Experts = 16,

    /// <summary>Adapts routers of experts and gates of shared experts.</summary>
    Routers = 32,

    /// <summary>Adapts the head. If it is tied to the embedding, the adapter affects only the head.</summary>
    Head = 64,

    /// <summary>Adapts all projections inside the blocks, except routers.</summary>
    Blocks = Attention | StateSpace | OtherMixers | FeedForward | Experts,

    /// <summary>Selects all projections.</summary>
    All = Blocks | Routers | Head,
}
