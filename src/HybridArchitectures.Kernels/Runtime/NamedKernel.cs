namespace HybridArchitectures.Kernels.Runtime;

/// <summary>Represents a kernel source by its name. Definitions NAME=VALUE can follow the name, separated by spaces.</summary>
sealed record NamedKernel(string Text) : KernelVariant
{
    /// <inheritdoc/>
    public override string File => Text.Split(' ')[0];

    /// <inheritdoc/>
    public override IEnumerable<(string Name, object Value)> Definitions =>
        Text.Split(' ').Skip(1).Select(part => part.Split('=')).Select(part => (part[0], (object)part[1]));
}
