namespace HybridArchitectures.Design;

/// <summary>Specifies how the load of experts is balanced.</summary>
public enum ExpertBalance
{
    /// <summary>Does not balance the experts.</summary>
    None,

    /// <summary>A bias per expert that is used only for the selection, and is adjusted after each step against the load (arXiv 2408.15664).</summary>
    BiasUpdate,

    /// <summary>A term of the loss: the number of experts times the sum over experts of load share times mean score (arXiv 2101.03961).</summary>
    AuxiliaryLoss,

    /// <summary>
    /// The same term once for all layers with this setting: shares and scores are means over the tokens of all these layers, as in Hugging Face
    /// Transformers.
    /// </summary>
    JointAuxiliaryLoss,
}
