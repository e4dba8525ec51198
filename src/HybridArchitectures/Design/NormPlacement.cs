namespace HybridArchitectures.Design;

/// <summary>Specifies where the norms of a block are.</summary>
public enum NormPlacement
{
    /// <summary>Applies norms to the inputs: x + mixer(norm(x)).</summary>
    Before,

    /// <summary>On the outputs, before they are added to the residual stream: x + norm(mixer(x)), as in OLMo 2 and 3 (arXiv 2501.00656).</summary>
    After,

    /// <summary>Applies norms to the residual stream itself: x = norm(x), then x + mixer(x), as in MiniMax-01 (arXiv 2501.08313).</summary>
    Stream,
}
