namespace HybridArchitectures.Design;

/// <summary>Specifies how the branches of an intra-layer hybrid are projected to the model width.</summary>
public enum OutputProjection
{
    /// <summary>Each branch has a separate projection. The results are combined.</summary>
    Separate,

    /// <summary>The branches are combined first. One projection follows.</summary>
    Joint,
}
