namespace HybridArchitectures.Modules;

/// <summary>Specifies rank and alpha of one adapter. Its output is multiplied by <paramref name="Alpha"/> / <paramref name="Rank"/>.</summary>
readonly record struct LoraSize(int Rank, double Alpha)
{
    public double Scale => Alpha / Rank;
}
