namespace HybridArchitectures.Design;

/// <summary>What keeps the load of experts even.</summary>
public enum ExpertBalance
{
    /// <summary>Nothing.</summary>
    None,

    /// <summary>A bias per expert, used for the choice only and moved after each step against its load (arXiv 2408.15664).</summary>
    BiasUpdate,

    /// <summary>A term of the loss: experts times the sum over experts of load share times mean score (arXiv 2101.03961).</summary>
    AuxiliaryLoss,

    /// <summary>The same term once for all layers that balance so: shares and scores are means over the tokens of all of them, as in Hugging Face's models.</summary>
    JointAuxiliaryLoss,
}
