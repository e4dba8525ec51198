namespace HybridArchitectures.Kernels.Runtime;

/// <summary>Represents a kernel source without options.</summary>
sealed record NamedKernel(string Name) : KernelVariant
{
    /// <inheritdoc/>
    public override string File => Name;
}
