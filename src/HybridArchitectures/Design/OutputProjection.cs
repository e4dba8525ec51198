namespace HybridArchitectures.Design;

/// <summary>Where the branches of an intra-layer hybrid are projected back to the model width.</summary>
public enum OutputProjection
{
    /// <summary>Each branch by a projection of its own; then they are fused.</summary>
    Separate,

    /// <summary>They are fused first; one projection follows.</summary>
    Joint,
}
