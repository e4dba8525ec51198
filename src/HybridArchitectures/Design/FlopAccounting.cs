namespace HybridArchitectures.Design;

/// <summary>Specifies what counts as FLOPs.</summary>
public enum FlopAccounting
{
    /// <summary>
    /// Counts by Table 1 of arXiv 2510.04800, forward pass: 2 per parameter without embedding and head, plus 2 (query width + output width) per
    /// visible key of attention, plus 9 x inner width x state + 2 x inner width for a state-space layer. Only the experts that a token uses count.
    /// </summary>
    Paper,

    /// <summary>
    /// Counts matrix products only, including the head: 2 per entry of each weight matrix, the two products of attention over the visible keys, and
    /// the products of state-space layers. These are 2 G N Q + 2 I Q + 4 I N for Mamba-2 over a sequence (G groups, N states, I channels, chunks of
    /// Q; arXiv 2405.21060, section 6), and 4 I N for one step and for Mamba-1. Norms, convolutions, activations and embedding look-ups do not count.
    /// </summary>
    MatrixProducts,
}
