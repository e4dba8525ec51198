using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>Contains the inputs of linear distillation, with the shapes of <see cref="Operators.LinearDistillation.Forward"/>.</summary>
sealed record DistillationInputs(Tensor Hidden, Tensor Weight, Tensor TeacherHidden, Tensor TeacherWeight, Tensor Targets)
{
    public double Share { get; init; }

    public double Temperature { get; init; } = 1;

    /// <summary>Gets the multiplier and the bound of the student's logits.</summary>
    public required CrossEntropyOptions StudentOptions { get; init; }

    /// <summary>Gets the multiplier and the bound of the teacher's logits.</summary>
    public required CrossEntropyOptions TeacherOptions { get; init; }

    public Tensor? TokenWeights { get; init; }

    public long IgnoreIndex => StudentOptions.IgnoreIndex;

    public long Tokens => Hidden.size(0);

    public long Classes => Weight.size(0);

    /// <summary>Gets the multiplier of the divergence in the loss.</summary>
    public double DivergenceFactor => Share * Temperature * Temperature;

    /// <summary>Checks the inputs. Exceptions name the argument.</summary>
    public void Check()
    {
        new CrossEntropyInputs(Hidden, Weight, null, Targets, TokenWeights, StudentOptions).Check();
        Checks.Floating(TeacherHidden, "teacherHidden");
        Checks.Shape(TeacherHidden, [Tokens, -1], "(tokens, width of the teacher), tokens as in hidden", "teacherHidden");
        Checks.Shape(TeacherWeight, [Classes, TeacherHidden.size(1)], "(vocabulary, width of the teacher), vocabulary as in weight", "teacherWeight");
        Checks.ParameterType(TeacherWeight, TeacherHidden, "teacherHidden", "teacherWeight");
        Checks.SameDevice(TeacherHidden, Hidden, "hidden", "teacherHidden");
        Checks.SameDevice(TeacherWeight, Hidden, "hidden", "teacherWeight");
        Require.InRange(Share is >= 0 and <= 1, "share", Share, "a number in [0, 1]");
        Require.InRange(Temperature > 0 && double.IsFinite(Temperature), "temperature", Temperature, "a finite number above 0");
        double scale = TeacherOptions.LogitScale;
        Require.InRange(double.IsFinite(scale), "teacherLogitScale", scale, "a finite number");
        if (TeacherOptions.LogitCap is { } cap) Require.Positive(cap, "teacherLogitCap");
    }
}
