namespace HybridArchitectures.Cost;

/// <summary>What is counted as floating point operations.</summary>
public enum FlopAccounting
{
    /// <summary>
    /// Table 1 of arXiv 2510.04800: forward, 2 per parameter without embedding and head, plus 2 (query width + output width) per visible key in attention, plus 9 x inner width x state + 2 x inner
    /// width in a state-space layer. Of experts those that see the token.
    /// </summary>
    Paper,

    /// <summary>
    /// Matrix products alone, head included: 2 per entry of each weight matrix, attention's two products over the keys a query may see, and the products of the state-space layers: chunked
    /// for Mamba-2 over a text (2 G N Q + 2 I Q + 4 I N for G groups, N states, I channels, chunks of Q; arXiv 2405.21060, section 6), 4 I N for one step and for Mamba-1.
    /// Norms, convolutions, activations and embedding look-ups are left out.
    /// </summary>
    MatrixProducts,
}
