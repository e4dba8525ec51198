namespace HybridArchitectures.Design;

/// <summary>Shares of two kinds of block; letters are null where the kinds are to be found among those described.</summary>
sealed record BuilderRatio(string? First, int FirstShare, string? Second, int SecondShare)
{
    public override string ToString() => $"{FirstShare}:{SecondShare}";
}
