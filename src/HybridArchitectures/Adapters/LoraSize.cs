namespace HybridArchitectures.Adapters;

/// <summary>Rank and scale of one adapter: what it adds is multiplied by <paramref name="Alpha"/> / <paramref name="Rank"/>.</summary>
readonly record struct LoraSize(int Rank, double Alpha)
{
    public double Scale => Alpha / Rank;
}
