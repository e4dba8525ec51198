namespace HybridArchitectures.Design;

/// <summary>Contains the shares of two kinds of block. A letter is null if the kind is to be found among those that the builder describes.</summary>
sealed record BuilderRatio(string? First, int FirstShare, string? Second, int SecondShare)
{
    public override string ToString() => $"{FirstShare}:{SecondShare}";
}
